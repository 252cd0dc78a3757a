// SPDX-License-Identifier: Apache-2.0
#include "builder/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;

TEST(FindMountRoot, NamesThePlaces) {
  Workbench bench;
  must(make_directories(AT_FDCWD, bench.path("bin")));
  must(make_directories(AT_FDCWD, bench.path("lib/cfs")));
  Error missing = find_mount_root(bench.path("bin/cfs-build")).error();
  EXPECT_EQ(missing.code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.message, HasSubstr(bench.path("lib/cfs/cfs-mount-root")));
  bench.write("lib/cfs/cfs-mount-root", "x");
  EXPECT_EQ(must(find_mount_root(bench.path("bin/cfs-build"))),
            bench.path("lib/cfs/cfs-mount-root"));
}

TEST(CommandLine, MistakesAreUsageErrors) {
  std::ostringstream out;
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{},
                                                    {"frob"},
                                                    {"build"},
                                                    {"build", "m.yaml"},
                                                    {"build", "m.yaml", "-o", "x", "--nope"}}) {
    Result<> done = run(arguments, out);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::kUsage);
  }
  EXPECT_EQ(out.str(), "");
  EXPECT_TRUE(run({"build", "--help"}, out));
  EXPECT_THAT(out.str(), HasSubstr("--store"));
}

// As a script gives it whose variable is not set; it would be taken for "not given".
TEST(CommandLine, AnEmptyPathIsAUsageError) {
  std::ostringstream out;
  for (const auto& [option, arguments] :
       std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"MANIFEST", {"build", "", "-o", "x"}},
           {"--output", {"build", "m.yaml", "-o", ""}},
           {"--store", {"build", "m.yaml", "-o", "x", "--store", ""}},
           {"--mount-root", {"build", "m.yaml", "-o", "x", "--mount-root="}},
           {"--efi-stub", {"build", "m.yaml", "-o", "x", "--efi-stub", ""}}}) {
    Result<> done = run(arguments, out);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::kUsage);
    EXPECT_EQ(done.error().message, option + ": the value is empty");
  }
}

}  // namespace
}  // namespace cfs::builder

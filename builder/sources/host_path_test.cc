// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/host_path.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;

TEST(HostPath, ErrorsBeginWithThePlaceInTheManifest) {
  Workbench bench;
  HostPath none{.path = bench.path("none"), .place = "m.yaml:1:2: sources[0].tar.path: "};
  Error error = none.status(0).error();
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_EQ(error.message, "m.yaml:1:2: sources[0].tar.path: '" + none.path + "' does not exist");
  EXPECT_THAT(error.hint, HasSubstr("relative to the manifest"));
}

TEST(HostPath, TheBuildIsOutside) {
  Workbench bench;
  must(make_directories(AT_FDCWD, bench.path("site/deep")));
  must(make_directories(AT_FDCWD, bench.path("site-too")));
  HostPath site{.path = bench.path("site"), .place = "p: "};
  struct stat status = must(site.status(0));
  auto check = [&](const std::string& output, const std::string& store) {
    SourceContext context;
    context.output = output;
    context.store = store;
    Result<> done = site.check_build_is_outside(status, context);
    return done ? "" : done.error().message + " (" + done.error().hint + ")";
  };
  EXPECT_EQ(check(bench.path("out"), ""), "");
  EXPECT_EQ(check(bench.path("site-too/out"), bench.path("store")), "");
  EXPECT_EQ(check(bench.path("site/deep/new/out"), ""),
            "p: '" + site.path + "' holds the output '" + bench.path("site/deep/new/out") +
                "' (name a directory outside of it with -o)");
  EXPECT_THAT(check(bench.path("out"), bench.path("site")), HasSubstr("with --store"));
}

}  // namespace
}  // namespace cfs::builder

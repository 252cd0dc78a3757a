// SPDX-License-Identifier: Apache-2.0
#include "builder/output.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "builder/test_support.h"
#include "lib/release/description.h"

namespace cfs::builder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct OutputTest : testing::Test {
  TemporaryDirectory directory = must(TemporaryDirectory::create());
  [[nodiscard]] std::string path(const std::string& name) const {
    return directory.path() + "/" + name;
  }
  [[nodiscard]] std::vector<std::string> names(const std::string& name) const {
    return must(list_directory(AT_FDCWD, path(name)));
  }
  /// An output with a file, and with what makes it one of a build.
  [[nodiscard]] Output make(const std::string& name, const std::string& file) const {
    Output output = must(Output::create(path(name)));
    release::ReleaseDescription description;
    description.image.size_bytes = 4096;
    description.name = "n";
    description.version = "1";
    description.arch = "amd64";
    description.channel = "stable";
    must(output.write("release.json", as_bytes(must(release::serialise_description(description)))));
    must(output.write(file, as_bytes(file)));
    return output;
  }
};

TEST_F(OutputTest, AppearsWholeOrNotAtAll) {
  { Output abandoned = make("out", "a"); }
  EXPECT_THAT(names("."), ElementsAre());
  Output output = make("deep/er/out", "a");
  EXPECT_FALSE(stat_at(AT_FDCWD, path("deep/er/out"), 0));
  must(output.publish());
  EXPECT_THAT(names("deep/er"), ElementsAre("out"));
  EXPECT_THAT(names("deep/er/out"), ElementsAre("a", "release.json"));
  EXPECT_EQ(must(stat_at(AT_FDCWD, path("deep/er/out"), 0)).st_mode, S_IFDIR | 0755U);
}

TEST_F(OutputTest, ReplacesOnlyWhatABuildHasMade) {
  must(make("out", "a").publish());
  must(make("out", "b").publish());
  EXPECT_THAT(names("."), ElementsAre("out"));
  EXPECT_THAT(names("out"), ElementsAre("b", "release.json"));
  must(make_directories(AT_FDCWD, path("precious")));
  Result<Output> refused = Output::create(path("precious"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExists);
  EXPECT_THAT(refused.error().hint, HasSubstr("-o"));
  // Something that came while the build ran is not replaced either.
  Output late = make("late", "a");
  must(make_directories(AT_FDCWD, path("late")));
  EXPECT_EQ(late.publish().error().code, ErrorCode::kExists);
}

TEST_F(OutputTest, TheLinkToTheStoreIsRelative) {
  Output output = make("a/out", "a");
  must(output.link_store(path("stores/one")));
  must(output.publish());
  must(rename_at(AT_FDCWD, directory.path(), AT_FDCWD, directory.path() + ".moved"));
  EXPECT_TRUE(stat_at(AT_FDCWD, directory.path() + ".moved/a/out/objects", 0));
  must(rename_at(AT_FDCWD, directory.path() + ".moved", AT_FDCWD, directory.path()));
}

TEST_F(OutputTest, RealPathFollowsWhatExists) {
  must(make_directories(AT_FDCWD, path("real/deep")));
  ASSERT_EQ(::symlink("real/deep", path("link").c_str()), 0);
  std::string base = must(real_path(directory.path()));
  EXPECT_EQ(must(real_path(path("link/new/./x/../y/"))), base + "/real/deep/new/y");
  EXPECT_EQ(must(real_path("/")), "/");
}

}  // namespace
}  // namespace cfs::builder

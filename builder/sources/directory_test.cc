// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "builder/test_support.h"

namespace cfs::builder {
namespace {

TEST(Directory, GoesOverWhatIsThere) {
  Workbench bench;
  TarMaker base;
  base.add("usr/lib/", {.type = '5', .mode = 0711});
  base.add("lib", {.type = '2', .link = "usr/lib"});
  base.add("etc/motd", {.mode = 0600}, "old");
  must(bench.import(base.finish()));
  std::string root = bench.path("overlay");
  must(make_directories(AT_FDCWD, root + "/lib/new", 0770));
  must(make_directories(AT_FDCWD, root + "/etc", 0777));
  must(write_file_atomically(AT_FDCWD, root + "/lib/x", as_bytes("x"), 0755));
  must(write_file_atomically(AT_FDCWD, root + "/etc/motd", as_bytes("new")));

  must(import_directory({.path = root, .into = "/", .owner = Owner{1, 2}}, bench.rootfs));
  EXPECT_TRUE(bench.at("/lib").is_symlink());
  EXPECT_EQ(bench.at("/usr/lib").attributes.mode, S_IFDIR | 0711U) << "not the overlay's";
  EXPECT_EQ(bench.at("/usr/lib/x").attributes.mode, S_IFREG | 0755U);
  EXPECT_EQ(bench.at("/usr/lib/x").attributes.uid, 1U);
  EXPECT_EQ(bench.at("/usr/lib/x").attributes.gid, 2U);
  EXPECT_TRUE(bench.at("/usr/lib/new").is_directory());
  EXPECT_EQ(bench.at("/etc/motd").content(), "new");

  must(import_directory({.path = root, .into = "/opt/app", .owner = Owner{}}, bench.rootfs));
  EXPECT_EQ(bench.at("/opt/app/etc/motd").content(), "new");
}

TEST(Directory, IsTheRootOfAnEmptyImageOnly) {
  Workbench bench;
  std::string root = bench.path("root");
  must(make_directories(AT_FDCWD, root + "/d", 0755));
  ASSERT_EQ(::chmod(root.c_str(), 0711), 0);
  must(import_directory({.path = root, .into = "/", .owner = Owner{1, 2}}, bench.rootfs));
  EXPECT_EQ(bench.at("/").attributes.mode, S_IFDIR | 0711U);
  EXPECT_EQ(bench.at("/").attributes.uid, 1U);
  ASSERT_EQ(::chmod(root.c_str(), 0700), 0);
  must(import_directory({.path = root, .into = "/", .owner = Owner{3, 4}}, bench.rootfs));
  EXPECT_EQ(bench.at("/").attributes.mode, S_IFDIR | 0711U);
  EXPECT_EQ(bench.at("/").attributes.uid, 1U);
}

TEST(Directory, MissingOneIsNotFoundAndNamed) {
  Workbench bench;
  Result<> done =
      import_directory({.path = bench.path("none"), .into = "/", .owner = {}}, bench.rootfs);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(done.error().describe(), testing::HasSubstr("none"));
}

}  // namespace
}  // namespace cfs::builder

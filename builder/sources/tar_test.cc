// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/tar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "builder/sources/directory.h"
#include "builder/sources/posix_acl.h"
#include "builder/test_support.h"
#include "lib/base/subprocess.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;

const std::string kLarge(100000, 'x');

/// cap_net_raw=ep as Linux stores it: vfs_cap_data revision 2, include/uapi/linux/capability.h.
const std::string kNetRaw("\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);

TEST(Tar, KeepsEverythingThatAnInodeHas) {
  TarMaker tar;
  tar.add("./", {.type = '5', .mode = 0755, .mtime = 7});
  tar.add("./bin/", {.type = '5', .mode = 01777, .uid = 1000, .gid = 50});
  tar.add("./bin/ping",
          {.mode = 04755,
           .uid = 4,
           .gid = 5,
           .mtime = 1600000000,
           .pax = {{"mtime", "1600000000.123456789"},
                   {"SCHILY.xattr.security.capability", kNetRaw},
                   {"SCHILY.xattr.user.note", "a\nb=c"}}},
          kLarge);
  tar.add("./bin/link", {.type = '1', .link = "./bin/ping"});
  tar.add("./bin/sym", {.type = '2', .mode = 0777, .link = "../etc/x y"});
  tar.add("./null", {.type = '3', .mode = 0666, .device_major = 1, .device_minor = 3});
  tar.add("./disk", {.type = '4', .mode = 0660, .device_major = 259, .device_minor = 70000});
  tar.add("./pipe", {.type = '6', .mode = 0600});
  tar.add("./small", {}, "tiny\n");
  tar.add("./empty", {});
  tar.add("./big-owner", {.pax = {{"uid", "4000000000"}, {"gid", "3000000000"}}});

  Workbench bench;
  Result<> done = bench.import(tar.finish());
  ASSERT_TRUE(done) << done.error().describe();
  bench.tree.count_links();
  EXPECT_EQ(bench.at("/").attributes.mtime.seconds, 7);
  tree::Node& ping = bench.at("/bin/ping");
  EXPECT_EQ(ping.attributes.mode, S_IFREG | 04755U);
  EXPECT_EQ(ping.attributes.uid, 4U);
  EXPECT_EQ(ping.attributes.gid, 5U);
  EXPECT_EQ(ping.attributes.nlink, 2U);
  EXPECT_EQ(ping.attributes.mtime, (tree::Timestamp{1600000000, 123456789}));
  EXPECT_EQ(ping.xattr("security.capability")->value, kNetRaw);
  EXPECT_EQ(ping.xattr("user.note")->value, "a\nb=c");
  EXPECT_EQ(*ping.digest(), verity::digest_of(as_bytes(kLarge)));
  EXPECT_EQ(&bench.at("/bin/link").inode(), &ping);
  EXPECT_EQ(bench.at("/bin/sym").symlink_target(), "../etc/x y");
  EXPECT_EQ(bench.at("/bin").attributes.mode, S_IFDIR | 01777U);
  EXPECT_EQ(bench.at("/null").rdev, ::makedev(1, 3));
  EXPECT_TRUE(S_ISCHR(bench.at("/null").attributes.mode));
  EXPECT_EQ(bench.at("/disk").rdev, ::makedev(259, 70000));
  EXPECT_TRUE(S_ISBLK(bench.at("/disk").attributes.mode));
  EXPECT_TRUE(S_ISFIFO(bench.at("/pipe").attributes.mode));
  EXPECT_EQ(bench.at("/small").content(), "tiny\n");
  EXPECT_EQ(bench.at("/empty").size_bytes, 0U);
  EXPECT_EQ(bench.at("/big-owner").attributes.uid, 4000000000U);
  EXPECT_EQ(bench.at("/big-owner").attributes.gid, 3000000000U);
  EXPECT_EQ(must(bench.contents.read(ping, 1 << 20)), kLarge);
}

TEST(Tar, AccessListsBecomeXattrsAndTheMaskTheGroupBits) {
  TarMaker tar;
  tar.add("d/",
          {.type = '5',
           .mode = 0770,
           .pax = {{"SCHILY.acl.access",
                    "user::rwx,user:app:r-x:1001,group::r--,group:adm:rwx:4,mask::rw-,other::---"},
                   {"SCHILY.acl.default", "user::rwx,group::r-x,other::r--"}}});
  tar.add("plain",
          {.mode = 0640, .pax = {{"SCHILY.acl.access", "user::rw-,group::r--,other::---"}}});
  Workbench bench;
  Result<> done = bench.import(tar.finish());
  ASSERT_TRUE(done) << done.error().describe();
  using Tag = AclEntry::Tag;
  EXPECT_EQ(bench.at("/d").xattr("system.posix_acl_access")->value,
            encode_posix_acl({{Tag::kUserOwner, 7},
                              {Tag::kUser, 5, 1001},
                              {Tag::kGroupOwner, 4},
                              {Tag::kGroup, 7, 4},
                              {Tag::kMask, 6},
                              {Tag::kOther, 0}}));
  EXPECT_EQ(bench.at("/d").attributes.mode, S_IFDIR | 0760U);
  EXPECT_EQ(bench.at("/d").xattr("system.posix_acl_default")->value,
            encode_posix_acl({{Tag::kUserOwner, 7}, {Tag::kGroupOwner, 5}, {Tag::kOther, 4}}));
  EXPECT_TRUE(bench.at("/plain").xattrs().empty());
  EXPECT_EQ(bench.at("/plain").attributes.mode, S_IFREG | 0640U);
}

TEST(Tar, LaterEntriesWin) {
  TarMaker tar;
  tar.add("a", {.mode = 0600, .pax = {{"SCHILY.xattr.user.x", "1"}}}, "old");
  tar.add("b", {.type = '1', .link = "a"});
  tar.add("a", {.mode = 0644}, "new");
  tar.add("d/", {.type = '5', .mode = 0700, .pax = {{"SCHILY.xattr.user.x", "1"}}});
  tar.add("d/f", {});
  tar.add("d/", {.type = '5', .mode = 0755});
  tar.add("e", {}, "file");
  tar.add("e", {.type = '2', .link = "a"});
  Workbench bench;
  Result<> done = bench.import(tar.finish());
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(bench.at("/a").content(), "new");
  EXPECT_TRUE(bench.at("/a").xattrs().empty());
  EXPECT_EQ(bench.at("/b").inode().content(), "old");
  EXPECT_EQ(bench.at("/b").inode().attributes.mode, S_IFREG | 0600U);
  EXPECT_EQ(bench.at("/d").attributes.mode, S_IFDIR | 0755U);
  EXPECT_TRUE(bench.at("/d").xattrs().empty());
  EXPECT_EQ(bench.at("/d").children().size(), 1U);
  EXPECT_TRUE(bench.at("/e").is_symlink());
}

/// Contents are stored by other threads, while entries may replace each other.
TEST(Tar, LaterEntriesWinBeforeTheirContentIsStored) {
  auto content = [](int i) {
    return std::string(100 + static_cast<size_t>(i) * 7, 'c') + std::to_string(i);
  };
  TarMaker tar;
  for (int i = 0; i < 300; ++i) {
    std::string name = "f" + std::to_string(i % 10);
    tar.add(name, {}, content(i));
    if (i % 3 == 0) tar.add("link" + std::to_string(i), {.type = '1', .link = name});
    if (i % 50 == 49) tar.add(name, {.type = '2', .link = "x"});
  }
  Workbench bench;
  must(bench.import(tar.finish()));
  for (int i = 0; i < 300; i += 3) {
    const tree::Node& node = bench.at("/link" + std::to_string(i));
    EXPECT_EQ(must(bench.contents.read(node, 1 << 20)), content(i)) << i;
  }
  for (int i = 290; i < 299; ++i) {
    EXPECT_EQ(must(bench.contents.read(bench.at("/f" + std::to_string(i % 10)), 1 << 20)),
              content(i));
  }
  EXPECT_TRUE(bench.at("/f9").is_symlink());
}

TEST(Tar, FilesOfEverySizeAreWhole) {
  TarMaker tar;
  std::vector<size_t> sizes = {
      0, 1, 64, 65, 4096, 100'000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20};
  for (size_t size : sizes) {
    tar.add(std::to_string(size), {}, std::string(size, static_cast<char>('a' + size % 26)));
  }
  Workbench bench;
  must(bench.import(tar.finish()));
  for (size_t size : sizes) {
    EXPECT_TRUE(must(bench.contents.read(bench.at("/" + std::to_string(size)), 4 << 20)) ==
                std::string(size, static_cast<char>('a' + size % 26)))
        << size;
  }
}

TEST(Tar, HolesAreStoredAsHoles) {
  TarMaker tar;
  tar.add("hole",
          {.pax = {{"GNU.sparse.size", "4000000000"},
                   {"GNU.sparse.numblocks", "2"},
                   {"GNU.sparse.map", "3000000000,4,4000000000,0"}}},
          "data");
  Workbench bench;
  must(bench.import(tar.finish()));
  must(bench.contents.commit());
  const tree::Node& node = bench.at("/hole");
  EXPECT_EQ(node.size_bytes, 4'000'000'000U);
  struct stat status = {};
  ASSERT_EQ(::stat(bench.path("objects/" + node.digest()->object_path()).c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 4'000'000'000);
  EXPECT_LT(status.st_blocks, 1000);
}

TEST(Tar, CapabilitiesOfBothVersionsArrive) {
  const std::string of_a_container =
      kNetRaw.substr(0, 3) + '\x03' + kNetRaw.substr(4) + std::string("\x01\0\0\0", 4);
  TarMaker tar;
  tar.add("2", {.pax = {{"SCHILY.xattr.security.capability", kNetRaw}}});
  tar.add("3", {.pax = {{"SCHILY.xattr.security.capability", of_a_container}}});
  Workbench bench;
  must(bench.import(tar.finish()));
  EXPECT_EQ(bench.at("/2").xattr("security.capability")->value, kNetRaw);
  EXPECT_EQ(bench.at("/3").xattr("security.capability")->value, of_a_container);
}

// As getxattr(2) shows it where the user is in no container, and so a directory source sees it.
TEST(Tar, ACapabilityOfTheFirstNamespacesRootIsOfTheSecondVersion) {
  for (char effective : {'\0', '\1'}) {
    const std::string of_two = effective + kNetRaw.substr(1);
    TarMaker tar;
    tar.add("f",
            {.pax = {{"SCHILY.xattr.security.capability",
                      of_two.substr(0, 3) + '\x03' + of_two.substr(4) + std::string(4, '\0')}}});
    Workbench bench;
    must(bench.import(tar.finish()));
    EXPECT_EQ(bench.at("/f").xattr("security.capability")->value, of_two);
  }
}

TEST(Tar, LabelsOfAHostsPolicyAreLeftOut) {
  TarMaker tar;
  tar.add("schily",
          {.pax = {{"SCHILY.xattr.security.selinux", "l"}, {"SCHILY.xattr.user.a", "b"}}});
  tar.add("rht", {.pax = {{"RHT.security.selinux", "l"}, {"SCHILY.xattr.user.a", "b"}}});
  tar.add("bsd", {.pax = {{"LIBARCHIVE.xattr.security.selinux", "bA"},
                          {"LIBARCHIVE.xattr.user.a", "Yg"}}});
  Workbench bench;
  Result<> done = bench.import(tar.finish());
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(bench.tree.root().children().size(), 3U);
  for (const tree::Node* child : bench.tree.root().children()) {
    ASSERT_EQ(child->xattrs().size(), 1U) << child->path();
    EXPECT_EQ(child->xattr("user.a")->value, "b") << child->path();
  }
}

TEST(Tar, SymlinksHaveTheModeOfSymlinks) {
  TarMaker tar;
  tar.add("l", {.type = '2', .mode = 0644, .link = "x"});
  Workbench bench;
  must(bench.import(tar.finish()));
  EXPECT_EQ(bench.at("/l").attributes.mode, S_IFLNK | 0777U);
}

/// GNU tar sets the mode of a file after its xattrs and before the list of a text; chmod(2) changes
/// the list. What is no file keeps what the list says.
TEST(Tar, ModesAndAccessListsThatContradictEachOther) {
  using Tag = AclEntry::Tag;
  auto list = [](uint16_t mask, uint16_t other) {
    return encode_posix_acl({{Tag::kUserOwner, 7},
                             {Tag::kUser, 5, 1001},
                             {Tag::kGroupOwner, 4},
                             {Tag::kMask, mask},
                             {Tag::kOther, other}});
  };
  const std::string binary = list(6, 0);
  const std::string by_name = "user::rwx,user:app:r-x,group::r--,mask::rw-,other::---";
  const std::string by_number = "user::rwx,user:app:r-x:1001,group::r--,mask::rw-,other::---";
  const std::string key = "SCHILY.xattr.system.posix_acl_access";
  TarMaker tar;
  tar.add("binary", {.mode = 04751, .pax = {{key, binary}}});
  tar.add("owners", {.mode = 0400, .pax = {{key, binary}}});
  tar.add("sparse", {.mode = 0751,
                     .pax = {{key, binary},
                             {"GNU.sparse.size", "1000"},
                             {"GNU.sparse.numblocks", "1"},
                             {"GNU.sparse.map", "1000,0"}}});
  tar.add("directory", {.type = '5', .mode = 01751, .pax = {{key, binary}}});
  tar.add("pipe", {.type = '6', .mode = 0751, .pax = {{key, binary}}});
  tar.add("text", {.mode = 0751, .pax = {{"SCHILY.acl.access", by_number}}});
  tar.add("both", {.mode = 0751, .pax = {{key, binary}, {"SCHILY.acl.access", by_number}}});
  // Whose number `app` has only the host that wrote it knows.
  tar.add("name", {.mode = 0760, .pax = {{"SCHILY.acl.access", by_name}, {key, binary}}});
  const std::string small =
      encode_posix_acl({{Tag::kUserOwner, 6}, {Tag::kGroupOwner, 4}, {Tag::kOther, 1}});
  tar.add("small", {.mode = 0751, .pax = {{key, small}}});
  tar.add("small-directory", {.type = '5', .mode = 0751, .pax = {{key, small}}});
  tar.add("none", {.mode = 0777, .pax = {{"SCHILY.acl.access", ""}}});
  Workbench bench;
  Result<> done = bench.import(tar.finish());
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(bench.at("/binary").xattr("system.posix_acl_access")->value, list(5, 1));
  EXPECT_EQ(bench.at("/binary").attributes.mode, S_IFREG | 04751U);
  for (const char* path :
       {"/owners", "/sparse", "/directory", "/pipe", "/text", "/both", "/name"}) {
    EXPECT_EQ(bench.at(path).xattr("system.posix_acl_access")->value, binary) << path;
    EXPECT_EQ(bench.at(path).attributes.mode & 0777, 0760U) << path;
  }
  for (const char* path : {"/small", "/small-directory", "/none"}) {
    EXPECT_TRUE(bench.at(path).xattrs().empty()) << path;
  }
  EXPECT_EQ(bench.at("/small").attributes.mode, S_IFREG | 0751U);
  EXPECT_EQ(bench.at("/small-directory").attributes.mode, S_IFDIR | 0641U);
  EXPECT_EQ(bench.at("/none").attributes.mode, S_IFREG | 0777U);

  TarMaker doubtful;
  doubtful.add("name", {.mode = 0751, .pax = {{"SCHILY.acl.access", by_name}, {key, binary}}});
  EXPECT_THAT(bench.import(doubtful.finish()).error().message,
              HasSubstr("entry 'name': has a mode that contradicts its access control list, and "
                        "'app' in it without a number"));
}

TEST(Tar, AccessListsByNameHaveAHint) {
  TarMaker tar;
  tar.add("f",
          {.pax = {{"SCHILY.acl.access", "user::rwx,user:app:r-x,group::r--,mask::rw-,other::-"}}});
  Workbench bench;
  Error error = bench.import(tar.finish()).error();
  EXPECT_EQ(error.code, ErrorCode::kCorrupt);
  EXPECT_THAT(error.message, HasSubstr("entry 'f': has an access rule for 'app' without a number"));
  EXPECT_THAT(error.hint, HasSubstr("--xattrs --xattrs-include='*'"));
}

TEST(Tar, PathsAreThoseOfTheImage) {
  TarMaker base;
  base.add("usr/lib/", {.type = '5', .mode = 0755});
  base.add("lib", {.type = '2', .link = "usr/lib"});
  base.add("loop", {.type = '2', .link = "loop"});
  Workbench bench;
  must(bench.import(base.finish()));

  TarMaker more;
  more.add("/absolute", {});
  more.add("lib/", {.type = '5', .mode = 0755});
  more.add("lib/x", {}, "through the link");
  more.add("deep/er/file", {});
  Result<> done = bench.import(more.finish());
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_NE(bench.tree.find("/absolute"), nullptr);
  EXPECT_TRUE(bench.at("/lib").is_symlink());
  EXPECT_EQ(bench.at("/usr/lib/x").content(), "through the link");
  EXPECT_EQ(bench.at("/deep/er").attributes.mode, S_IFDIR | 0755U);

  TarMaker looping;
  looping.add("loop/x", {});
  EXPECT_THAT(bench.import(looping.finish()).error().message, HasSubstr("too many symlinks"));
}

/// As `tar --keep-directory-symlink`.
TEST(Tar, DirectoryOverASymlinkToOneChangesNothing) {
  TarMaker tar;
  tar.add("usr/lib/", {.type = '5', .mode = 0751, .uid = 3, .mtime = 5});
  tar.add("lib", {.type = '2', .uid = 4, .link = "usr/lib"});
  tar.add("hard", {.type = '1', .link = "lib"});
  tar.add("dangling", {.type = '2', .link = "nowhere"});
  for (const char* path : {"lib", "hard/", "dangling"}) {
    tar.add(path, {.type = '5', .mode = 0700, .uid = 9, .pax = {{"SCHILY.xattr.user.x", "1"}}});
  }
  Workbench bench;
  Result<> done = bench.import(tar.finish());
  ASSERT_TRUE(done) << done.error().describe();
  const tree::Node& target = bench.at("/usr/lib");
  EXPECT_EQ(target.attributes.mode, S_IFDIR | 0751U);
  EXPECT_EQ(target.attributes.uid, 3U);
  EXPECT_EQ(target.attributes.mtime.seconds, 5);
  EXPECT_TRUE(target.xattrs().empty());
  EXPECT_EQ(bench.at("/lib").attributes.uid, 4U);
  EXPECT_TRUE(bench.at("/hard").inode().is_symlink());
  EXPECT_TRUE(bench.at("/dangling").is_directory()) << "leads to no directory";
  EXPECT_EQ(bench.at("/dangling").attributes.uid, 9U);

  TarMaker below;
  below.add("./", {.type = '5', .mode = 0700});
  must(bench.import(below.finish(), {.into = "/lib"}));
  EXPECT_TRUE(bench.at("/lib").is_symlink());
  EXPECT_EQ(target.attributes.mode, S_IFDIR | 0700U) << "as `tar -C lib`";
}

TEST(Tar, StripAndInto) {
  TarMaker tar;
  tar.add("top", {.type = '5', .mode = 0700});
  tar.add("top/fw/a.bin", {}, "a");
  tar.add("top/fw/b.bin", {.type = '1', .link = "top/fw/a.bin"});
  Workbench bench;
  must(bench.import(tar.finish(), {.into = "/usr/lib/firmware", .strip = 2}));
  EXPECT_EQ(bench.at("/usr/lib/firmware/a.bin").content(), "a");
  EXPECT_EQ(&bench.at("/usr/lib/firmware/b.bin").inode(), &bench.at("/usr/lib/firmware/a.bin"));
  EXPECT_EQ(bench.tree.find("/top"), nullptr);
}

TEST(Tar, StripCountsTheComponentsOfTheNormalPath) {
  TarMaker tar;
  tar.add("./", {.type = '5', .mode = 0700});
  tar.add("./top/a", {}, "a");
  tar.add("/.//top/./b", {}, "b");
  Workbench bench;
  must(bench.import(tar.finish(), {.strip = 1}));
  EXPECT_EQ(bench.at("/a").content(), "a");
  EXPECT_EQ(bench.at("/b").content(), "b");
  EXPECT_EQ(bench.tree.root().children().size(), 2U);
}

TEST(Tar, StripMustLeaveSomething) {
  TarMaker tar;
  tar.add("./", {.type = '5'});
  tar.add("./top/a", {}, "a");
  Workbench bench;
  Error error = bench.import(tar.finish(), {.strip = 2}).error();
  EXPECT_EQ(error.code, ErrorCode::kInvalidInput);
  EXPECT_THAT(error.message, HasSubstr("'t.tar': 'strip: 2' leaves nothing of the archive"));
  EXPECT_TRUE(bench.import(TarMaker().finish(), {.strip = 2})) << "there was nothing to leave out";
}

struct Refusal {
  const char* name;
  TarMaker::Entry entry;
  std::string path;
  ErrorCode code;
  const char* message;
};
class RefusedImport : public testing::TestWithParam<Refusal> {};
TEST_P(RefusedImport, SaysWhichEntry) {
  TarMaker tar;
  tar.add("full/file", {});
  tar.add(GetParam().path, GetParam().entry);
  Workbench bench;
  Result<> done = bench.import(tar.finish());
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, GetParam().code) << done.error().describe();
  EXPECT_THAT(done.error().describe(), HasSubstr(GetParam().message));
  EXPECT_THAT(done.error().describe(), HasSubstr("t.tar"));
}
INSTANTIATE_TEST_SUITE_P(
    Table, RefusedImport,
    testing::Values(
        Refusal{
            "DotDot", {}, "a/../../etc/passwd", ErrorCode::kInvalidInput, "leads out of the image"},
        Refusal{"LinkToNothing",
                {.type = '1', .link = "missing"},
                "l",
                ErrorCode::kInvalidInput,
                "which is not there"},
        Refusal{"LinkOutside",
                {.type = '1', .link = "../x"},
                "l",
                ErrorCode::kInvalidInput,
                "leads out"},
        Refusal{"LinkToDirectory",
                {.type = '1', .link = "full"},
                "l",
                ErrorCode::kInvalidInput,
                "hard link to the directory"},
        Refusal{"FileOverFullDirectory",
                {},
                "full",
                ErrorCode::kInvalidInput,
                "directory with entries"},
        Refusal{"BelowAFile",
                {},
                "full/file/x",
                ErrorCode::kInvalidInput,
                "'/full/file/x' cannot be made: '/full/file' is not a directory"},
        Refusal{"OwnerThatMeansNobody",
                {.pax = {{"uid", "4294967295"}}},
                "x",
                ErrorCode::kCorrupt,
                "owner 4294967295:0 is out of range"},
        Refusal{
            "Whiteout", {}, "etc/.wh.passwd", ErrorCode::kCorrupt, "a whiteout of an OCI layer"},
        Refusal{"OpaqueWhiteout",
                {},
                ".wh..wh..opq",
                ErrorCode::kCorrupt,
                "a whiteout of an OCI layer"},
        Refusal{"XattrOfAnotherSystem",
                {.pax = {{"SCHILY.xattr.com.apple.quarantine", "x"}}},
                "x",
                ErrorCode::kCorrupt,
                "'com.apple.quarantine', which Linux file systems do not take"},
        Refusal{"XattrWithAPrefixAlone",
                {.pax = {{"SCHILY.xattr.user.", "x"}}},
                "x",
                ErrorCode::kCorrupt,
                "'user.', which Linux file systems do not take"},
        Refusal{"CapabilityOfNoVersion",
                {.pax = {{"SCHILY.xattr.security.capability", "x"}}},
                "x",
                ErrorCode::kCorrupt,
                "'security.capability' with a value that Linux does not take"},
        Refusal{"CapabilityOfTheOldVersion",
                {.pax = {{"SCHILY.xattr.security.capability",
                          std::string("\x01\0\0\x01\0\x20\0\0\0\0\0\0", 12)}}},
                "x",
                ErrorCode::kCorrupt,
                "with a value that Linux does not take"},
        Refusal{"CapabilityOfAnotherSize",
                {.pax = {{"SCHILY.xattr.security.capability", kNetRaw + std::string(4, '\0')}}},
                "x",
                ErrorCode::kCorrupt,
                "with a value that Linux does not take"},
        Refusal{"CapabilityWithAnUnknownFlag",
                {.pax = {{"SCHILY.xattr.security.capability", "\x02" + kNetRaw.substr(1)}}},
                "x",
                ErrorCode::kCorrupt,
                "with a value that Linux does not take"},
        Refusal{"UserXattrOfASymlink",
                {.type = '2', .link = "l", .pax = {{"SCHILY.xattr.user.x", "x"}}},
                "x",
                ErrorCode::kCorrupt,
                "which only files and directories take"},
        Refusal{"TwoAccessLists",
                {.pax = {{"SCHILY.acl.access", "user::r,group::r,other::r"},
                         {"SCHILY.xattr.system.posix_acl_access",
                          encode_posix_acl({{AclEntry::Tag::kUserOwner, 7},
                                            {AclEntry::Tag::kGroupOwner, 7},
                                            {AclEntry::Tag::kOther, 7}})}}},
                "x",
                ErrorCode::kCorrupt,
                "contradict each other"},
        Refusal{"BrokenAccessList",
                {.pax = {{"SCHILY.xattr.system.posix_acl_access", "broken"}}},
                "x",
                ErrorCode::kCorrupt,
                "an access control list has an impossible size"},
        Refusal{"DefaultAccessListOfAFile",
                {.pax = {{"SCHILY.acl.default", "user::r,group::r,other::r"}}},
                "x",
                ErrorCode::kCorrupt,
                "is not a directory"},
        Refusal{
            "AccessListOfASymlink",
            {.type = '2', .link = "l", .pax = {{"SCHILY.acl.access", "user::r,group::r,other::r"}}},
            "x",
            ErrorCode::kCorrupt,
            "a symlink with an access control list"},
        Refusal{"RootIsAFile", {}, ".", ErrorCode::kInvalidInput, "must be a directory"},
        Refusal{"HugeXattr",
                {.pax = {{"SCHILY.xattr.user.x", std::string(40000, 'v')}}},
                "x",
                ErrorCode::kInvalidInput,
                "extended attributes"}),
    [](const testing::TestParamInfo<Refusal>& test) { return std::string(test.param.name); });

/// Text that compresses badly, the same every time.
std::string noise(size_t size) {
  std::string text;
  uint32_t state = 1;
  while (text.size() < size) {
    state = state * 1664525 + 1013904223;  // Numerical Recipes' linear congruential generator
    text += static_cast<char>(state >> 24);
  }
  return text;
}

/// With zeros at the end of the last file, which must not count as the end of the archive.
TarMaker tar_to_be_cut() {
  TarMaker tar;
  tar.add("a", {.pax = {{"SCHILY.xattr.user.x", "1"}}}, noise(3000));
  tar.add("d/", {.type = '5'});
  tar.add("zeros", {}, std::string(2000, '\0'));
  return tar;
}

TEST(Tar, CutShortAnywhereIsCorrupt) {
  std::string whole = tar_to_be_cut().finish();
  size_t entries_size = whole.size() - 1024;
  Workbench bench;
  for (size_t block = 0; block <= whole.size(); block += 512) {
    for (size_t size : {block - 1, block, block + 1}) {
      if (size > whole.size()) continue;  // also 0 - 1
      Result<> done = bench.import(whole.substr(0, size));
      // One block of zeros is an end; GNU tar warns.
      ASSERT_EQ(done.has_value(), size >= entries_size + 512) << size;
      if (done) continue;
      EXPECT_EQ(done.error().code, ErrorCode::kCorrupt) << done.error().describe();
    }
  }
  EXPECT_EQ(bench.import(noise(5000)).error().code, ErrorCode::kCorrupt);
}

TEST(Tar, CutShortWhenCompressedIsCorrupt) {
  Workbench bench;
  bench.write("whole.tar", tar_to_be_cut().finish());
  for (const char* tool : {"gzip", "bzip2", "xz", "zstd"}) {
    std::string packed = must(run_command({.arguments = {tool, "-c", bench.path("whole.tar")}}));
    must(bench.import(packed));
    for (size_t size = 0; size < packed.size(); size += size + 40 < packed.size() ? 97U : 1U) {
      Result<> done = bench.import(packed.substr(0, size));
      ASSERT_FALSE(done) << tool << " " << size;
      EXPECT_EQ(done.error().code, ErrorCode::kCorrupt) << done.error().describe();
      EXPECT_THAT(done.error().describe(), HasSubstr("t.tar"));
    }
  }
}

/// libarchive alone does not look at gzip's checksums.
TEST(Tar, FlippedBitInACompressedOneNeverGivesAnotherTree) {
  Workbench bench;
  std::string plain = tar_to_be_cut().finish();
  bench.write("whole.tar", plain);
  must(bench.import(plain));
  const std::string tree = dump_of(bench.tree);
  for (const char* tool : {"gzip", "bzip2", "xz", "zstd"}) {
    const std::string packed =
        must(run_command({.arguments = {tool, "-c", bench.path("whole.tar")}}));
    int refused = 0;
    for (size_t offset = 0; offset < packed.size(); offset += 61) {
      std::string flipped = packed;
      flipped[offset] = static_cast<char>(flipped[offset] ^ 0x10);
      Result<> done = bench.import(flipped);
      if (done) {  // a time in a header, another way to say the same
        EXPECT_EQ(dump_of(bench.tree), tree) << tool << " " << offset;
        continue;
      }
      ++refused;
      EXPECT_EQ(done.error().code, ErrorCode::kCorrupt) << done.error().describe();
    }
    EXPECT_GT(refused, 40) << tool;
  }
}

TEST(Tar, GzipMayBePaddedWithZerosOnly) {
  Workbench bench;
  bench.write("whole.tar", tar_to_be_cut().finish());
  std::string packed = must(run_command({.arguments = {"gzip", "-c", bench.path("whole.tar")}}));
  EXPECT_TRUE(bench.import(packed + std::string(1000, '\0')));
  for (const std::string& tail : {std::string("x"), std::string("\0x", 2)}) {
    EXPECT_EQ(bench.import(packed + tail).error().code, ErrorCode::kCorrupt);
  }
}

/// Every piece compressed by itself; then a cut between two of them leaves a whole stream.
TEST(Tar, CutShortBetweenCompressedPiecesIsCorrupt) {
  std::string whole = tar_to_be_cut().finish();
  for (const char* tool : {"gzip", "bzip2", "xz", "zstd"}) {
    Workbench bench;
    std::string packed;
    for (size_t offset = 0; offset < whole.size(); offset += 512) {
      if (offset == whole.size() - 1024) {  // only the end is missing
        EXPECT_EQ(bench.import(packed).error().code, ErrorCode::kCorrupt) << tool;
      }
      bench.write("piece", whole.substr(offset, 512));
      packed += must(run_command({.arguments = {tool, "-c", bench.path("piece")}}));
    }
    Result<> done = bench.import(packed);
    EXPECT_TRUE(done) << tool << done.error().describe();
  }
}

TEST(Tar, NothingIsLeftOutSilently) {
  TarMaker first;
  first.add("a", {}, "1");
  TarMaker second;
  second.add("b", {}, "2");
  Workbench bench;
  std::string padding(10240, '\0');
  must(bench.import(first.finish() + padding));
  for (const std::string& joined :
       {first.finish() + second.finish(), first.finish() + padding + second.finish(),
        // A lone block of zeros, where readers stop as well.
        first.finish().substr(0, 1536) + second.finish()}) {
    Error error = bench.import(joined).error();
    EXPECT_EQ(error.code, ErrorCode::kCorrupt);
    EXPECT_THAT(error.message, HasSubstr("data after the end of the archive at byte"));
  }
  // Headers that are no entries: a volume label, and what `git archive` writes for a commit.
  for (char type : {'V', 'g'}) {
    TarMaker special;
    special.add("label", {.type = type}, type == 'g' ? "18 comment=abcdef\n" : "");
    std::string whole = special.finish();
    EXPECT_TRUE(bench.import(whole)) << bench.import(whole).error().describe();
    EXPECT_EQ(bench.import(whole.substr(0, whole.size() - 1024)).error().code, ErrorCode::kCorrupt);
    special.add("a", {}, "1");
    EXPECT_TRUE(bench.import(special.finish()));
  }
}

TEST(Tar, NamesAreBytes) {
  TarMaker tar;
  tar.add("latin-\xe9", {}, "1");
  tar.add("x", {.pax = {{"path", "F\xc5\x91tan\xc3\xba"}}}, "2");
  Workbench bench;
  Result<> done = bench.import(tar.finish());
  ASSERT_TRUE(done) << done.error().describe();
  EXPECT_EQ(bench.at("/latin-\xe9").content(), "1");
  EXPECT_EQ(bench.at("/F\xc5\x91tan\xc3\xba").content(), "2");
}

/// GNU tar, and our own reading of the same directory, must agree about everything.
TEST(Tar, OfADirectoryEqualsTheDirectory) {
  Workbench from_tar;
  Workbench from_directory;
  std::string root = from_tar.path("root");
  must(make_directories(AT_FDCWD, root + "/a/b"));
  must(write_file_atomically(AT_FDCWD, root + "/a/large", as_bytes(kLarge), 0640));
  must(write_file_atomically(AT_FDCWD, root + "/a/b/small", as_bytes("s")));
  ASSERT_EQ(::link((root + "/a/large").c_str(), (root + "/a/b/again").c_str()), 0);
  ASSERT_EQ(::symlink("large", (root + "/a/sym").c_str()), 0);
  ASSERT_EQ(::mkfifo((root + "/pipe").c_str(), 0600), 0);
  must(run_command({.arguments = {"setfattr", "-n", "user.k", "-v", "v", root + "/a/b/small"}}));
  must(run_command({.arguments = {"setfacl", "-m", "u:1234:rx,d:u:77:r", root + "/a"}}));
  ASSERT_EQ(::chmod((root + "/a/b").c_str(), 03750), 0);

  must(run_command({.arguments = {"tar", "--sort=name", "--format=pax", "--xattrs", "--acls",
                                  "--zstd", "-cf", from_tar.path("t.tar.zst"), "-C", root, "."}}));
  UniqueFd fd = must(open_at(AT_FDCWD, from_tar.path("t.tar.zst"), O_RDONLY));
  Progress progress("test", 0);
  must(import_tar_stream(fd.get(), "t.tar.zst", {}, from_tar.rootfs, progress));
  must(import_directory({.path = root, .into = "/", .owner = std::nullopt}, from_directory.rootfs));
  from_tar.tree.count_links();
  from_directory.tree.count_links();
  // The root exists in every tree already, so that a directory does not change it.
  from_directory.tree.root().attributes = from_tar.tree.root().attributes;
  std::string dump = dump_of(from_tar.tree);
  EXPECT_EQ(dump, dump_of(from_directory.tree));
  EXPECT_THAT(dump, HasSubstr("user.k=v"));
  EXPECT_THAT(dump, HasSubstr("system.posix_acl_default="));
}

}  // namespace
}  // namespace cfs::builder

// SPDX-License-Identifier: Apache-2.0
// Disk images as other people's programs see them: sfdisk, mtools, fsck.vfat, e2fsck, debugfs.
#include "lib/disk/disk_image.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <map>
#include <random>

#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/disk/ext4_layout.h"
#include "lib/disk/host_program.h"
#include "lib/verity/fsverity_judge.h"
#include "lib/verity/merkle.h"

namespace cfs::disk {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uint64_t kMiB = 1U << 20;
constexpr int64_t kEpoch = 1'700'000'000;
constexpr uint64_t kRootOffset = 65 * kMiB;
constexpr uint64_t kFreeBytes = 8 * kMiB;

std::string pattern(size_t size) {
  std::mt19937 random(static_cast<unsigned>(size));
  std::string data(size, '\0');
  for (char& byte : data) byte = static_cast<char>(random());
  return data;
}

verity::Digest digest_of(const std::string& data) { return verity::digest_of(as_bytes(data)); }

/// Runs a program and returns what it says on both outputs; fails the test unless it succeeds.
std::string say(std::vector<std::string> arguments) {
  std::vector<std::string> shell = {"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; \"$@\" 2>&1", "sh"};
  shell.insert(shell.end(), arguments.begin(), arguments.end());
  Result<std::string> said = run_command({.arguments = shell, .environment = {"TZ=UTC"}});
  EXPECT_TRUE(said) << arguments[0] << ": " << said.error().message;
  return said.value_or("");
}

/// A disk image of a plan.
class Disk {
 public:
  explicit Disk(const DiskPlan& plan) {
    Result<> made = make_disk(plan, path());
    EXPECT_TRUE(made) << made.error().describe();
  }
  [[nodiscard]] std::string path() const { return dir_.path() + "/disk.img"; }
  [[nodiscard]] std::string scratch(const std::string& name) const {
    return dir_.path() + "/" + name;
  }
  /// The ext4 file system as e2fsprogs' programs want it named.
  [[nodiscard]] std::string root() const {
    return path() + "?offset=" + std::to_string(kRootOffset);
  }
  [[nodiscard]] std::string debugfs(const std::string& command) const {
    return say({"debugfs", "-R", command, root()});
  }
  [[nodiscard]] std::string content(const std::string& file) const {
    std::string copy = scratch("copy");
    (void)debugfs("dump " + file + " " + copy);
    return read_file(AT_FDCWD, copy, 64 * kMiB).value();
  }
  void expect_clean() const { EXPECT_THAT(say({"e2fsck", "-fn", root()}), Not(HasSubstr("Fix"))); }

 private:
  TemporaryDirectory dir_ = TemporaryDirectory::create().value();
};

RootEntry file(const std::string& path, const std::string& content) {
  return {.path = path, .mode = S_IFREG | 0644, .mtime_seconds = kEpoch, .content = content};
}

RootEntry object(const std::string& content) {
  verity::Digest digest = digest_of(content);
  RootEntry entry = file("cfs/objects/" + digest.object_path(), content);
  entry.mode = S_IFREG | 0444;
  entry.verity = digest;
  return entry;
}

DiskPlan small_plan() {
  return {.seed = "a seed",
          .source_date_epoch = kEpoch,
          .esp_files = {{"EFI/BOOT/BOOTX64.EFI", std::string("loader")},
                        {"EFI/Linux/cfs_12.1+3~rc1_0123456789ab.efi", pattern(100'000)},
                        {"loader/loader.conf", std::string("default x\n")}},
          .root_entries = {file("hello", "world\n")},
          .esp_size_bytes = 64 * kMiB,
          .root_free_bytes = kFreeBytes,
          .on_progress = {}};
}

/// Logical block → physical block, as debugfs lists the extents of a file.
std::map<uint64_t, uint64_t> blocks_of(const Disk& disk, const std::string& path) {
  std::map<uint64_t, uint64_t> blocks;
  std::string listing = disk.debugfs("extents " + path);
  EXPECT_THAT(listing, Not(HasSubstr("Uninit")));
  // " 1/ 1   2/  3    25 -    49    1234 -   1258     25", level 1 of 1; level 0 of 1 is an index
  for (std::string_view rest = listing; !rest.empty();) {
    std::string line(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    unsigned level = 0;
    unsigned depth = 0;
    unsigned long first = 0;
    unsigned long last = 0;
    unsigned long physical = 0;
    // NOLINTNEXTLINE(cert-err34-c): the numbers are of a program that we trust
    if (std::sscanf(line.c_str(), "%u/%u %*u/%*u %lu - %lu %lu -", &level, &depth, &first, &last,
                    &physical) != 5 ||
        level != depth) {
      continue;
    }
    for (uint64_t i = first; i <= last; ++i) blocks[i] = physical + (i - first);
  }
  return blocks;
}

std::string read_blocks(const Disk& disk, const std::map<uint64_t, uint64_t>& blocks,
                        uint64_t first, uint64_t count) {
  std::string data(count * kBlockBytes, '\0');
  UniqueFd image = open_at(AT_FDCWD, disk.path(), O_RDONLY).value();
  for (uint64_t i = 0; i < count; ++i) {
    auto buffer = std::as_writable_bytes(std::span(data)).subspan(i * kBlockBytes, kBlockBytes);
    EXPECT_EQ(pread_full(image.get(), buffer, kRootOffset + blocks.at(first + i) * kBlockBytes),
              kBlockBytes);
  }
  return data;
}

TEST(MakeDisk, PartitionsAreWhatSfdiskExpects) {
  Disk disk(small_plan());
  EXPECT_THAT(say({"sfdisk", "--verify", disk.path()}), HasSubstr("No errors detected"));
  nlohmann::json table =
      nlohmann::json::parse(say({"sfdisk", "--json", disk.path()})).at("partitiontable");
  EXPECT_EQ(table.at("label"), "gpt");
  const nlohmann::json& esp = table.at("partitions").at(0);
  EXPECT_EQ(esp.at("name"), "cfs-esp");
  EXPECT_EQ(esp.at("type"), "C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
  EXPECT_EQ(esp.at("start"), kMiB / 512);
  EXPECT_EQ(esp.at("size"), 64 * kMiB / 512);
  const nlohmann::json& root = table.at("partitions").at(1);
  EXPECT_EQ(root.at("name"), "cfs");
  EXPECT_EQ(root.at("type"), "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709");
  EXPECT_EQ(root.at("start"), kRootOffset / 512);
  EXPECT_EQ(table.at("partitions").size(), 2U);
  EXPECT_EQ(say({"blkid", "-p", "-O", std::to_string(kRootOffset), "-s", "LABEL", "-o", "value",
                 disk.path()}),
            "cfs\n");
  EXPECT_EQ(
      say({"blkid", "-p", "-O", std::to_string(kMiB), "-s", "LABEL", "-o", "value", disk.path()}),
      "cfs-esp\n");
}

TEST(MakeDisk, EspHoldsItsFiles) {
  DiskPlan plan = small_plan();
  Disk disk(plan);
  const std::string drive = disk.path() + "@@1M";
  std::string listing = say({"mdir", "-b", "-/", "-i", drive, "::"});
  for (const EspFile& file : plan.esp_files) {
    EXPECT_THAT(listing, HasSubstr("::/" + file.path + "\n"));
    std::string copy = disk.scratch("esp-file");
    say({"mcopy", "-n", "-o", "-i", drive, "::" + file.path, copy});
    EXPECT_TRUE(read_file(AT_FDCWD, copy, kMiB).value() == std::get<std::string>(file.content));
  }
  EXPECT_THAT(say({"mdir", "-i", drive, "::loader"}), HasSubstr("2023-11-14"));
  say({"dd", "if=" + disk.path(), "of=" + disk.scratch("esp"), "bs=1M", "skip=1", "count=64"});
  EXPECT_THAT(say({"fsck.vfat", "-n", disk.scratch("esp")}), Not(HasSubstr("rror")));
}

TEST(MakeDisk, FilesWithVerityHaveWhatLibfsveritySays) {
  DiskPlan plan = small_plan();
  std::vector<std::string> contents;
  const size_t block = kBlockBytes;
  const size_t level1 = block * verity::kHashesPerBlock;
  for (size_t size : {size_t{0}, size_t{1}, block, block + 1, size_t{65536}, size_t{65537}, level1,
                      level1 + 1, 5 * level1 + 3, 2 * kMiB + 17}) {
    contents.push_back(pattern(size));
    plan.root_entries.push_back(object(contents.back()));
  }
  Disk disk(plan);
  disk.expect_clean();
  for (const std::string& content : contents) {
    const std::string path = "/cfs/objects/" + digest_of(content).object_path();
    SCOPED_TRACE(std::to_string(content.size()) + " bytes: " + path);
    std::string inode = disk.debugfs("stat " + path);
    EXPECT_THAT(inode, AllOf(HasSubstr("Flags: 0x180000"), HasSubstr("Mode:  0444"),
                             HasSubstr("Size: " + std::to_string(content.size()) + "\n")));
    EXPECT_TRUE(disk.content(path) == content);

    verity::Judged judged = verity::judged_by_libfsverity(as_bytes(content));
    uint64_t first = align_up(content.size(), 65536) / kBlockBytes;
    uint64_t tree_blocks = judged.tree.size() / kBlockBytes;
    std::map<uint64_t, uint64_t> blocks = blocks_of(disk, path);
    ASSERT_EQ(blocks.rbegin()->first, first + tree_blocks);  // the descriptor's block is the last
    EXPECT_EQ(blocks.size(), (content.size() + block - 1) / block + tree_blocks + 1);
    EXPECT_TRUE(read_blocks(disk, blocks, first, tree_blocks) == as_text(judged.tree));
    std::string last = read_blocks(disk, blocks, first + tree_blocks, 1);
    EXPECT_TRUE(last.substr(0, 256) == as_text(judged.descriptor));
    EXPECT_TRUE(last.substr(256, block - 260) == std::string(block - 260, '\0'));
    EXPECT_EQ(last.substr(block - 4), std::string("\0\1\0\0", 4));
  }
  EXPECT_THAT(disk.debugfs("stat /hello"), HasSubstr("Flags: 0x80000"));  // only what was asked
}

TEST(MakeDisk, AttributesAreThePlansNotTheHosts) {
  DiskPlan plan = small_plan();
  std::string capability("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  std::string acl(
      "\2\0\0\0\1\0\6\0\xff\xff\xff\xff\2\0\4\0\xe8\3\0\0\4\0\4\0\xff\xff\xff\xff"
      "\x10\0\4\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff",
      44);
  const std::string long_target(100, 't');
  plan.root_entries = {
      {.path = "var", .mode = S_IFDIR | 0755, .mtime_seconds = 1},
      {.path = "var/mail",
       .mode = S_IFDIR | 02775,
       .uid = 100'000,
       .gid = 8,
       .mtime_seconds = 1'234'567'890,
       .mtime_nanoseconds = 5,
       .xattrs = {{"user.on-a-directory", "yes"}}},
      {.path = "var/mail/far-future",
       .mode = S_IFREG | 04711,
       .uid = 4'000'000'000,
       .gid = 3,
       .mtime_seconds = 10'000'000'000,
       .mtime_nanoseconds = 999'999'999,
       .content = std::string("x"),
       .xattrs = {{"security.capability", capability}, {"system.posix_acl_access", acl}}},
      {.path = "var/big-xattr",
       .mode = S_IFREG | 0600,
       .mtime_seconds = -1,
       .xattrs = {{"user.big", std::string(3000, 'b')}}},
      {.path = "var/null", .mode = S_IFCHR | 0666, .device = makedev(1, 3)},
      {.path = "var/disk", .mode = S_IFBLK | 0660, .gid = 6, .device = makedev(259, 70'000)},
      {.path = "var/fifo", .mode = S_IFIFO | 0600},
      {.path = "var/socket", .mode = S_IFSOCK | 0600},
      {.path = "var/short", .mode = S_IFLNK | 0777, .symlink_target = "../run"},
      {.path = "var/long", .mode = S_IFLNK | 0777, .symlink_target = long_target},
      {.path = "var/second-name", .link_to = "var/mail/far-future"},
      {.path = "made/on/the/way", .mode = S_IFREG | 0644},
      {.path = "var", .mode = S_IFDIR | 0700, .uid = 7, .mtime_seconds = 2},
      {.path = "", .mode = S_IFDIR | 0555, .mtime_seconds = 3},
  };
  Disk disk(plan);
  disk.expect_clean();
  auto stat = [&](const std::string& path) { return disk.debugfs("stat " + path); };
  EXPECT_THAT(stat("/"), HasSubstr("Mode:  0555"));
  EXPECT_THAT(stat("/var"), AllOf(HasSubstr("Mode:  0700"), HasSubstr("User:     7"),
                                  HasSubstr("mtime: 0x00000002")));
  EXPECT_THAT(stat("/var/mail"),
              AllOf(HasSubstr("Mode:  02775"), HasSubstr("User: 100000   Group:     8"),
                    HasSubstr("mtime: 0x499602d2:00000014"), HasSubstr("user.on-a-directory")));
  std::string future = stat("/var/mail/far-future");
  EXPECT_THAT(future,
              AllOf(HasSubstr("Mode:  04711"), HasSubstr("User: -294967296")  // 4,000,000,000
                    ,
                    HasSubstr("Links: 2"), HasSubstr("mtime: 0x540be400:ee6b27fe"),
                    HasSubstr("ctime: 0x6553f100:00000000")));
  // As ext4 has it: a version, and ids only where they mean something.
  EXPECT_THAT(disk.debugfs("ea_list /var/mail/far-future"),
              AllOf(HasSubstr("security.capability (20) = 01 00 00 02 00 04 00 00"),
                    HasSubstr("system.posix_acl_access (28) = 01 00 00 00 01 00 06 00 02 00 04 00 "
                              "e8 03 00 00 04 00 04 00 10 00 04 00 20 00 00 00")));
  EXPECT_THAT(stat("/var/big-xattr"),
              AllOf(HasSubstr("mtime: 0xffffffff:00000000"), Not(HasSubstr("File ACL: 0\n"))));
  EXPECT_THAT(stat("/var/null"), HasSubstr("Device major/minor number: 01:03"));
  EXPECT_THAT(stat("/var/disk"), AllOf(HasSubstr("Type: block"), HasSubstr("259:70000")));
  EXPECT_THAT(stat("/var/fifo"), HasSubstr("Type: FIFO"));
  EXPECT_THAT(stat("/var/socket"), HasSubstr("Type: socket"));
  EXPECT_THAT(stat("/var/short"), HasSubstr("Fast link dest: \"../run\""));
  EXPECT_THAT(disk.content("/var/long"), StartsWith(long_target));
  EXPECT_THAT(stat("/made/on/the"), AllOf(HasSubstr("Mode:  0755"), HasSubstr("User:     0")));
  EXPECT_THAT(stat("/lost+found"), HasSubstr("Type: directory"));
}

TEST(MakeDisk, SamePlanSameBytes) {
  DiskPlan plan = small_plan();
  for (size_t size = 0; size < 300'000; size += 50'000) {
    plan.root_entries.push_back(object(pattern(size)));
  }
  for (size_t i = 0; i < 20; ++i) {
    plan.root_entries.push_back({.path = "directory" + std::to_string(i),
                                 .mode = S_IFDIR | 0755,
                                 .xattrs = {{"user.big", std::string(1000 + i, 'b')}}});
  }
  Disk first(plan);
  Disk second(plan);
  say({"cmp", first.path(), second.path()});
  plan.seed = "another seed";
  Disk other(plan);
  EXPECT_NE(first.debugfs("show_super_stats -h"), other.debugfs("show_super_stats -h"));
}

TEST(MakeDisk, TheCallersEnvironmentMakesNoOtherDisk) {
  Disk plain(small_plan());
  const std::pair<const char*, const char*> variables[] = {{"MTOOLS_LOWER_CASE", "1"},
                                                           {"MTOOLS_FAT_COMPATIBILITY", "1"},
                                                           {"MTOOLS_NO_VFAT", "1"},
                                                           {"MTOOLS_NAME_NUMERIC_TAIL", "0"},
                                                           {"MKE2FS_DEVICE_SECTSIZE", "4096"},
                                                           {"E2FSPROGS_LIBMAGIC_SUPPRESS", "1"},
                                                           {"SOURCE_DATE_EPOCH", "1"},
                                                           {"POSIXLY_CORRECT", "1"},
                                                           {"LC_ALL", "tr_TR.UTF-8"},
                                                           {"TZ", "Asia/Tokyo"}};
  for (const auto& [name, value] : variables) {
    ASSERT_EQ(::setenv(name, value, 1), 0);  // NOLINT(concurrency-mt-unsafe)
  }
  mode_t old_umask = ::umask(0);
  Disk hostile(small_plan());
  ::umask(old_umask);
  for (const auto& [name, value] : variables) ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe)
  say({"cmp", plain.path(), hostile.path()});
}

TEST(MakeDisk, IsSparse) {
  for (uint64_t free_bytes : {uint64_t{0}, 100 * kMiB, 5000 * kMiB}) {
    DiskPlan plan = small_plan();
    plan.root_free_bytes = free_bytes;
    for (int i = 0; i < 400; ++i) plan.root_entries.push_back(object(std::to_string(i)));
    Disk disk(plan);
    struct stat status = stat_at(AT_FDCWD, disk.path(), 0).value();
    EXPECT_LE(static_cast<uint64_t>(status.st_blocks) * 512, 30 * kMiB + free_bytes / 40);
  }
}

TEST(MakeDisk, DirectoriesOfManyBlocks) {
  DiskPlan plan = small_plan();
  plan.root_entries.clear();
  for (int i = 0; i < 1500; ++i) {
    plan.root_entries.push_back(
        file("many/" + std::string(100, 'n') + std::to_string(i), std::to_string(i)));
  }
  Disk disk(plan);
  disk.expect_clean();
  EXPECT_EQ(disk.content("/many/" + std::string(100, 'n') + "1499"), "1499");
}

TEST(MakeDisk, NeverReplacesAFile) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  const std::string path = dir.path() + "/disk.img";
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, as_bytes("old")));
  EXPECT_EQ(make_disk(small_plan(), path).error().code, ErrorCode::kExists);
  EXPECT_EQ(read_file(AT_FDCWD, path, 10).value(), "old");
  EXPECT_EQ(make_disk(small_plan(), dir.path()).error().code, ErrorCode::kExists);
  EXPECT_EQ(make_disk(small_plan(), dir.path() + "/no/disk").error().code, ErrorCode::kNotFound);
}

TEST(MakeDisk, FreeSpaceHasALimit) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  DiskPlan plan = small_plan();
  for (uint64_t free_bytes : {kMaxRootFreeBytes + 1, ~uint64_t{0} - 5, uint64_t{1} << 63}) {
    plan.root_free_bytes = free_bytes;
    EXPECT_EQ(make_disk(plan, dir.path() + "/disk.img").error().code, ErrorCode::kInvalidInput);
  }
  EXPECT_TRUE(list_directory(AT_FDCWD, dir.path()).value().empty());
}

TEST(MakeDisk, FailuresLeaveNothing) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  const std::string path = dir.path() + "/disk.img";
  auto code = [&](auto change) {
    DiskPlan plan = small_plan();
    change(plan);
    Result<> made = make_disk(plan, path);
    EXPECT_TRUE(list_directory(AT_FDCWD, dir.path()).value().empty());
    return made ? ErrorCode::kNothingToDo : made.error().code;
  };
  auto with_entry = [&](RootEntry entry) {
    return code([&](DiskPlan& plan) { plan.root_entries.push_back(std::move(entry)); });
  };
  RootEntry wrong = object("content");
  wrong.content = std::string("CONTENT");
  EXPECT_EQ(with_entry(wrong), ErrorCode::kDigestMismatch);
  RootEntry missing = object("content");
  missing.content = HostFile{dir.path() + "/missing"};
  EXPECT_EQ(with_entry(missing), ErrorCode::kNotFound);
  EXPECT_EQ(with_entry(file("hello", "again")), ErrorCode::kExists);
  EXPECT_EQ(with_entry(file("hello/below", "a file")), ErrorCode::kInvalidInput);
  for (const char* bad : {"/absolute", "a/../b", "a//b", ".", "a/"}) {
    EXPECT_EQ(with_entry(file(bad, "x")), ErrorCode::kInvalidInput) << bad;
  }
  EXPECT_EQ(with_entry({.path = "typeless", .mode = 0644}), ErrorCode::kInvalidInput);
  EXPECT_EQ(with_entry({.path = "x", .mode = S_IFLNK}), ErrorCode::kInvalidInput);
  EXPECT_EQ(with_entry({.path = "x", .link_to = "missing"}), ErrorCode::kInvalidInput);
  EXPECT_EQ(with_entry({.path = "x", .mode = S_IFREG, .mtime_seconds = int64_t{1} << 40}),
            ErrorCode::kInvalidInput);
  EXPECT_EQ(with_entry({.path = "x", .mode = S_IFREG, .xattrs = {{"no.prefix", ""}}}),
            ErrorCode::kInvalidInput);
  EXPECT_EQ(
      with_entry({.path = "x", .mode = S_IFREG, .xattrs = {{"user.x", std::string(5000, 'x')}}}),
      ErrorCode::kInvalidInput);
  EXPECT_EQ(code([](DiskPlan& plan) {
              plan.esp_files.push_back({"efi/boot/bootx64.efi", std::string("twice")});
            }),
            ErrorCode::kInvalidInput);
  EXPECT_EQ(code([](DiskPlan& plan) {
              plan.esp_files.push_back({"EFI/a*b", std::string("pattern")});
            }),
            ErrorCode::kInvalidInput);
  EXPECT_EQ(code([](DiskPlan& plan) {
              plan.esp_files.push_back({"large", std::string(64 * kMiB, 'x')});
            }),
            ErrorCode::kNoSpace);
  EXPECT_EQ(code([](DiskPlan& plan) { plan.esp_size_bytes = kMiB; }), ErrorCode::kInvalidInput);
}

TEST(MakeDisk, TheHostsDiskBeingFullIsNoSpace) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  DiskPlan plan = small_plan();
  plan.root_entries.push_back(file("big", std::string(3 * kMiB, 'x')));
  // In a child, because the limit cannot be taken back: no file grows beyond 1 MiB.
  pid_t child = ::fork();
  if (child == 0) {
    (void)::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {.rlim_cur = kMiB, .rlim_max = kMiB};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    Result<> made = make_disk(plan, dir.path() + "/disk.img");
    ::_exit(!made && made.error().code == ErrorCode::kNoSpace ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(list_directory(AT_FDCWD, dir.path()).value().empty());
}

TEST(MakeDisk, NeedsNoRoot) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  DiskPlan plan = small_plan();
  plan.root_entries.push_back(object(pattern(10'000)));
  plan.root_entries.push_back({.path = "null", .mode = S_IFCHR, .device = makedev(1, 3)});
  Disk as_ourselves(plan);
  if (::getuid() == 0) {
    constexpr uid_t kNobody = 65534;
    ASSERT_EQ(::chown(dir.path().c_str(), kNobody, kNobody), 0);
    pid_t child = ::fork();
    if (child == 0) {
      bool dropped =
          ::setgroups(0, nullptr) == 0 && ::setgid(kNobody) == 0 && ::setuid(kNobody) == 0;
      Result<> made = make_disk(plan, dir.path() + "/disk.img");
      if (!made) (void)std::fprintf(stderr, "%s\n", made.error().describe().c_str());
      ::_exit(dropped && made ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    say({"cmp", as_ourselves.path(), dir.path() + "/disk.img"});  // whoever makes it
  }
}

TEST(MakeDisk, AMissingProgramNamesItsPackage) {
  Result<std::string> found = find_program("no-such-program", "a-package");
  EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(found.error().hint, HasSubstr("a-package"));
  EXPECT_THAT(find_program("mke2fs", "e2fsprogs").value(), StartsWith("/"));
  EXPECT_TRUE(check_programs());
}

TEST(EntriesOfDirectory, TakesContentModesAndLinksButNoOwners) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  const std::string root = dir.path() + "/root";
  const verity::Digest digest = digest_of("an object");
  ASSERT_TRUE(make_directories(AT_FDCWD, root + "/cfs/objects/" + digest.hex().substr(0, 2)));
  ASSERT_TRUE(make_directories(AT_FDCWD, root + "/cfs/images"));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, root + "/cfs/objects/" + digest.object_path(),
                                    as_bytes("an object"), 0444));
  // Only looks like an object.
  const std::string other = "cfs/state/var/" + digest.object_path();
  ASSERT_TRUE(make_directories(AT_FDCWD, root + "/cfs/state/var/" + digest.hex().substr(0, 2)));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, root + "/" + other, as_bytes("something else")));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, root + "/cfs/meta.json", as_bytes("{}"), 0640));
  const std::string target = "../objects/" + digest.object_path();
  ASSERT_EQ(::symlink(target.c_str(), (root + "/cfs/images/" + digest.hex()).c_str()), 0);

  std::vector<RootEntry> entries = entries_of_directory(root, "", kEpoch).value();
  std::map<std::string, RootEntry> by_path;
  for (const RootEntry& entry : entries) by_path[entry.path] = entry;
  EXPECT_EQ(by_path.size(), entries.size());
  EXPECT_EQ(by_path.at("cfs/objects/" + digest.object_path()).verity, digest);
  EXPECT_EQ(by_path.at("cfs/objects/" + digest.object_path()).mode, S_IFREG | 0444U);
  EXPECT_EQ(by_path.at(other).verity, std::nullopt);
  EXPECT_EQ(by_path.at("cfs/meta.json").verity, std::nullopt);
  EXPECT_EQ(by_path.at("cfs/meta.json").mode, S_IFREG | 0640U);
  EXPECT_EQ(by_path.at("cfs/images/" + digest.hex()).symlink_target, target);
  EXPECT_TRUE(S_ISDIR(by_path.at("").mode));

  DiskPlan plan = small_plan();
  plan.root_entries = entries;
  EXPECT_EQ(content_bytes(plan).value(), 25U);
  uint64_t written = 0;
  plan.on_progress = [&](uint64_t bytes) { written += bytes; };
  Disk disk(plan);
  disk.expect_clean();
  EXPECT_EQ(written, 25U);
  EXPECT_THAT(disk.debugfs("stat /cfs/meta.json"),
              AllOf(HasSubstr("User:     0   Group:     0"), HasSubstr("mtime: 0x6553f100")));

  ASSERT_EQ(::mkfifo((root + "/fifo").c_str(), 0600), 0);
  EXPECT_EQ(entries_of_directory(root, "", kEpoch).error().code, ErrorCode::kInvalidInput);
}

}  // namespace
}  // namespace cfs::disk

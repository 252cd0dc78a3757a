// SPDX-License-Identifier: Apache-2.0
#include "lib/scan/scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/tree/dump.h"

/// An attribute that is listed and cannot be read, as security.selinux for who may not see labels.
constexpr const char* kUnreadableKey = "user.unreadable";

/// Comes before the C library's, so that a test can have such an attribute on any file system.
extern "C" ssize_t fgetxattr(int fd, const char* name, void* value, size_t size) noexcept {
  if (std::string_view(name) == kUnreadableKey) {
    errno = EACCES;
    return -1;
  }
  return ::syscall(SYS_fgetxattr, fd, name, value, size);
}

namespace cfs::scan {
namespace {

using testing::HasSubstr;

class ScanTest : public testing::Test {
 protected:
  void file(const std::string& path, const std::string& content, mode_t mode = 0644) {
    ASSERT_TRUE(write_file_atomically(root_.get(), path, as_bytes(content), mode));
  }
  void directory(const std::string& path) { ASSERT_TRUE(make_directories(root_.get(), path)); }
  std::string absolute(const std::string& path) { return source_ + "/" + path; }

  Result<tree::Tree> scan(const ScanOptions& options = {}, store::Batch* batch = nullptr) {
    return scan_directory(AT_FDCWD, source_, options, batch);
  }
  static std::string dump(const tree::Tree& tree) {
    std::string text;
    EXPECT_TRUE(tree::write_dump(tree, {}, sink_to_string(text)));
    return text;
  }
  /// Without those that are links to others.
  static int nodes_of(const tree::Tree& tree) {
    int count = 0;
    EXPECT_TRUE(tree.for_each([&](const tree::Node& node) -> Result<> {
      if (!node.is_link()) ++count;
      return {};
    }));
    return count;
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  std::string source_ = [this] {
    std::string path = directory_.path() + "/source";
    EXPECT_TRUE(make_directories(AT_FDCWD, path));
    return path;
  }();
  UniqueFd root_ = open_at(AT_FDCWD, source_, O_RDONLY | O_DIRECTORY).value();
};

TEST_F(ScanTest, AnAttributeThatIsLeftOutNeedNotBeReadable) {
  file("file", "content");
  directory("directory");
  for (const char* name : {"file", "directory"}) {
    for (const char* key : {kUnreadableKey, "user.kept"}) {
      ASSERT_EQ(::setxattr(absolute(name).c_str(), key, "x", 1, 0), 0);
    }
  }
  Error error = scan().error();
  EXPECT_EQ(error.code, ErrorCode::kPermission);
  EXPECT_THAT(error.describe(), HasSubstr(kUnreadableKey));
  tree::Tree tree =
      scan({.keep_xattr = [](std::string_view key) { return key != kUnreadableKey; }}).value();
  for (const char* path : {"/file", "/directory"}) {
    ASSERT_EQ(tree.find(path)->xattrs().size(), 1U);
    EXPECT_NE(tree.find(path)->xattr("user.kept"), nullptr);
  }
}

TEST_F(ScanTest, TakesEveryKindOfFileWithItsAttributes) {
  directory("usr/lib");
  file("usr/lib/empty", "", 0600);
  file("usr/lib/inline", std::string(64, 'i'));
  file("usr/lib/external", std::string(65, 'e'), 04755);
  ASSERT_EQ(::symlinkat("../target", root_.get(), "usr/link"), 0);
  ASSERT_EQ(::mkfifoat(root_.get(), "fifo", 0640), 0);
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  absolute("socket").copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::setxattr(absolute("usr").c_str(), "user.key", "value", 5, 0), 0);
  timespec times[2] = {{.tv_sec = 1, .tv_nsec = 1}, {.tv_sec = -5, .tv_nsec = 123'456'789}};
  ASSERT_EQ(::utimensat(root_.get(), "usr/lib/external", times, 0), 0);

  tree::Tree tree = scan().value();
  EXPECT_EQ(nodes_of(tree), 9);
  const tree::Node* external = tree.find("/usr/lib/external");
  ASSERT_NE(external, nullptr);
  EXPECT_EQ(external->attributes.mode, S_IFREG | 04755U);
  EXPECT_EQ(external->attributes.uid, ::getuid());
  EXPECT_EQ(external->attributes.nlink, 1U);
  EXPECT_EQ(external->attributes.mtime, (tree::Timestamp{-5, 123'456'789}));
  EXPECT_EQ(external->size_bytes, 65U);
  EXPECT_EQ(*external->digest(), verity::digest_of(as_bytes(std::string(65, 'e'))));
  EXPECT_TRUE(external->payload_is_digest());
  const tree::Node* in_image = tree.find("/usr/lib/inline");
  EXPECT_EQ(in_image->content(), std::string(64, 'i'));
  EXPECT_EQ(in_image->digest(), nullptr);
  const tree::Node* empty = tree.find("/usr/lib/empty");
  EXPECT_EQ(empty->size_bytes, 0U);
  EXPECT_FALSE(empty->is_external());
  EXPECT_EQ(empty->attributes.mode, S_IFREG | 0600U);
  EXPECT_EQ(tree.find("/usr/link")->symlink_target(), "../target");
  EXPECT_TRUE(S_ISFIFO(tree.find("/fifo")->attributes.mode));
  EXPECT_TRUE(S_ISSOCK(tree.find("/socket")->attributes.mode));
  EXPECT_EQ(tree.find("/usr")->xattr("user.key")->value, "value");
  struct stat status = stat_at(AT_FDCWD, source_, 0).value();
  EXPECT_EQ(tree.root().attributes.mode, status.st_mode);
  EXPECT_EQ(tree.root().attributes.mtime.seconds, status.st_mtim.tv_sec);
}

TEST_F(ScanTest, ContentsGoIntoTheBatch) {
  file("small", std::string(1000, 's'));
  file("large", std::string(3 << 20, 'l'));
  file("inline", "tiny");
  store::ObjectStore store =
      store::ObjectStore::open(AT_FDCWD, directory_.path() + "/store", {}).value();
  store::Batch batch = store.begin().value();
  tree::Tree tree = scan({}, &batch).value();
  ASSERT_TRUE(batch.commit());
  EXPECT_EQ(store.list().value().size(), 2U);
  for (const char* name : {"/small", "/large"}) {
    const tree::Node* node = tree.find(name);
    UniqueFd object = store.open_object(*node->digest()).value();
    EXPECT_EQ(read_fd(object.get(), 4 << 20).value(),
              read_file(AT_FDCWD, source_ + name, 4 << 20).value());
  }
}

TEST_F(ScanTest, OptionsLeaveThingsOut) {
  file("file", "x");
  ASSERT_EQ(::setxattr(absolute("file").c_str(), "user.mine", "1", 1, 0), 0);
  // An access control list with a named user: version 2; owner, user 0, group, mask, other.
  const unsigned char acl[] = {2, 0, 0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  4,
                               0, 0, 0,   0,   0,   4,   0,  4, 0,   255, 255, 255, 255, 16, 0,
                               4, 0, 255, 255, 255, 255, 32, 0, 4,   0,   255, 255, 255, 255};
  ASSERT_EQ(::setxattr(absolute("file").c_str(), "system.posix_acl_access", acl, sizeof(acl), 0),
            0);
  tree::Tree all = scan().value();
  EXPECT_NE(all.find("/file")->xattr("user.mine"), nullptr);
  EXPECT_NE(all.find("/file")->xattr("system.posix_acl_access"), nullptr);
  tree::Tree user =
      scan({.keep_xattr = [](std::string_view key) { return key.starts_with("user."); }}).value();
  EXPECT_NE(user.find("/file")->xattr("user.mine"), nullptr);
  EXPECT_EQ(user.find("/file")->xattr("system.posix_acl_access"), nullptr);
  EXPECT_TRUE(scan({.xattrs = Xattrs::kSkip})->find("/file")->xattrs().empty());

  EXPECT_NE(all.find("/file")->attributes.mtime, tree::Timestamp{});
  tree::Tree epoch = scan({.times = Times::kEpoch}).value();
  EXPECT_EQ(epoch.find("/file")->attributes.mtime, tree::Timestamp{});
  EXPECT_EQ(epoch.root().attributes.mtime, tree::Timestamp{});
}

TEST_F(ScanTest, LargeAndManyXattrs) {
  file("file", "x");
  std::vector<std::pair<std::string, std::string>> xattrs{{"user.empty", ""}};
  for (int i = 0; i < 40; ++i) {
    xattrs.emplace_back("user.number-" + std::to_string(i),
                        std::string(static_cast<size_t>(i), 'v'));
  }
  xattrs.emplace_back("user.large", std::string(1500, 'l'));
  for (const auto& [key, value] : xattrs) {
    ASSERT_EQ(::setxattr(absolute("file").c_str(), key.c_str(), value.data(), value.size(), 0), 0)
        << key;
  }
  tree::Tree tree = scan().value();
  EXPECT_EQ(tree.find("/file")->xattrs().size(), xattrs.size());
  for (const auto& [key, value] : xattrs) {
    ASSERT_NE(tree.find("/file")->xattr(key), nullptr) << key;
    EXPECT_EQ(tree.find("/file")->xattr(key)->value, value);
  }
}

TEST_F(ScanTest, DevicesCanBeSkipped) {
  file("file", "x");
  ASSERT_EQ(::mkfifoat(root_.get(), "fifo", 0600), 0);
  // Whiteouts (0:0) are what an ordinary user may make.
  ASSERT_EQ(::mknodat(root_.get(), "whiteout", S_IFCHR | 0600, 0), 0);
  EXPECT_TRUE(scan()->find("/whiteout")->is_whiteout());
  tree::Tree tree = scan({.devices = Devices::kSkip}).value();
  EXPECT_EQ(tree.find("/whiteout"), nullptr);
  EXPECT_NE(tree.find("/fifo"), nullptr);
  EXPECT_NE(tree.find("/file"), nullptr);
}

TEST_F(ScanTest, HardLinksAreKeptAndTheFirstNameInTreeOrderHoldsTheFile) {
  // In tree order 'a/z' comes before 'a.x', though '.' sorts before '/'.
  directory("a");
  file("m", std::string(100, 'm'));
  ASSERT_EQ(::linkat(root_.get(), "m", root_.get(), "a.x", 0), 0);
  ASSERT_EQ(::linkat(root_.get(), "m", root_.get(), "a/z", 0), 0);
  ASSERT_EQ(::symlinkat("target", root_.get(), "s1"), 0);
  ASSERT_EQ(::linkat(root_.get(), "s1", root_.get(), "s2", 0), 0);
  file("../outside", "x");
  ASSERT_EQ(::linkat(root_.get(), "../outside", root_.get(), "inside", 0), 0);

  for (unsigned threads : {1U, 4U}) {
    tree::Tree tree = scan({.threads = threads}).value();
    const tree::Node* first = tree.find("/a/z");
    EXPECT_FALSE(first->is_link());
    EXPECT_EQ(first->attributes.nlink, 3U);
    EXPECT_EQ(first->size_bytes, 100U);
    EXPECT_EQ(&tree.find("/a.x")->inode(), first);
    EXPECT_EQ(&tree.find("/m")->inode(), first);
    EXPECT_EQ(&tree.find("/s2")->inode(), tree.find("/s1"));
    EXPECT_EQ(tree.find("/s1")->symlink_target(), "target");
    EXPECT_EQ(tree.find("/inside")->attributes.nlink, 1U);
  }
  tree::Tree separate = scan({.hard_links = HardLinks::kSeparate}).value();
  for (const char* name : {"/a/z", "/a.x", "/m"}) {
    const tree::Node* node = separate.find(name);
    EXPECT_FALSE(node->is_link());
    EXPECT_EQ(node->attributes.nlink, 1U);
    EXPECT_EQ(node->size_bytes, 100U);
  }
}

TEST_F(ScanTest, TheResultDoesNotDependOnTheThreads) {
  for (int i = 0; i < 300; ++i) {
    std::string name = "d" + std::to_string(i % 17) + "/e" + std::to_string(i % 5);
    directory(name);
    name += "/f" + std::to_string(i);
    file(name, std::string(static_cast<size_t>(i * 37 % 9000), static_cast<char>('a' + i % 26)));
    if (i % 7 == 0) {
      ASSERT_EQ(
          ::linkat(root_.get(), name.c_str(), root_.get(), ("l" + std::to_string(i)).c_str(), 0),
          0);
    }
  }
  const std::string expected = dump(scan({.threads = 1}).value());
  EXPECT_GT(expected.size(), 300U * 80);
  for (unsigned threads : {2U, 3U, 8U})
    EXPECT_EQ(dump(scan({.threads = threads}).value()), expected);
}

TEST_F(ScanTest, ManyDirectoriesWithOneFileEach) {
  // More than may be open at once, and fewer entries than fill a chunk in each.
  for (int i = 0; i < 600; ++i) {
    std::string name = "d" + std::to_string(i);
    ASSERT_EQ(::mkdirat(root_.get(), name.c_str(), 0755), 0);
    ASSERT_EQ(::symlinkat("x", root_.get(), (name + "/link").c_str()), 0);
  }
  EXPECT_EQ(nodes_of(scan({.threads = 2}).value()), 1201);
}

TEST_F(ScanTest, FewDescriptorsAreEnoughForManyThreads) {
  for (int i = 0; i < 400; ++i) {
    std::string name = "d" + std::to_string(i % 150);
    if (i < 150) directory(name);
    name += "/f" + std::to_string(i);
    UniqueFd fd = open_at(root_.get(), name, O_WRONLY | O_CREAT, 0644).value();
    ASSERT_TRUE(write_full(fd.get(), as_bytes(std::string(100, 'x') + name)));
  }
  const std::string expected = dump(scan().value());
  for (rlim_t limit : {64U, 24U}) {
    SCOPED_TRACE(limit);
    pid_t pid = ::fork();
    if (pid == 0) {
      rlimit few = {.rlim_cur = limit, .rlim_max = limit};
      if (::setrlimit(RLIMIT_NOFILE, &few) != 0) ::_exit(2);
      Result<store::ObjectStore> store =
          store::ObjectStore::open(AT_FDCWD, directory_.path() + "/store", {});
      if (!store) ::_exit(3);
      Result<store::Batch> batch = store->begin();
      if (!batch) ::_exit(4);
      Result<tree::Tree> tree = scan({.threads = 64}, &*batch);
      if (!tree) {
        (void)write_full(2, as_bytes(tree.error().describe() + "\n"));
        ::_exit(5);
      }
      ::_exit(dump(*tree) == expected ? 0 : 6);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
}

TEST_F(ScanTest, PathsLongerThanTheKernelTakes) {
  const std::string name(250, 'n');
  UniqueFd fd = open_at(AT_FDCWD, source_, O_RDONLY | O_DIRECTORY).value();
  for (int i = 0; i < 40; ++i) {
    ASSERT_EQ(::mkdirat(fd.get(), name.c_str(), 0755), 0);
    fd = open_at(fd.get(), name, O_RDONLY | O_DIRECTORY).value();
  }
  ASSERT_TRUE(write_file_atomically(fd.get(), "deep", as_bytes(std::string(100, 'x'))));
  tree::Tree tree = scan().value();
  EXPECT_EQ(nodes_of(tree), 42);
  std::string path;
  for (int i = 0; i < 40; ++i) path += "/" + name;
  EXPECT_NE(tree.find(path + "/deep"), nullptr);
}

// --- What cannot be read ---

TEST_F(ScanTest, ASourceThatIsNotADirectoryIsRefused) {
  file("file", "x");
  ASSERT_EQ(::symlinkat(".", root_.get(), "link"), 0);
  for (const char* name : {"file", "link", "missing"}) {
    Result<tree::Tree> tree = scan_directory(AT_FDCWD, absolute(name), {}, nullptr);
    ASSERT_FALSE(tree);
    EXPECT_THAT(tree.error().describe(), HasSubstr(absolute(name)));
  }
}

TEST_F(ScanTest, AnUnreadableFileOrDirectoryIsNamed) {
  directory("dir");
  file("dir/secret", std::string(100, 's'), 0000);
  // Root may read everything; its child becomes nobody.
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  auto error_as_nobody = [&]() -> std::string {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = ::fork();
    if (pid == 0) {
      if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
      Result<tree::Tree> tree = scan();
      std::string text = tree ? "no error" : tree.error().describe();
      (void)write_full(ends[1], as_bytes(text));
      ::_exit(!tree && tree.error().code == ErrorCode::kPermission ? 0 : 1);
    }
    ::close(ends[1]);
    std::string text = read_fd(ends[0], 10'000).value();
    ::close(ends[0]);
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0) << text;
    return text;
  };
  EXPECT_THAT(error_as_nobody(), HasSubstr(absolute("dir/secret")));
  ASSERT_EQ(::unlinkat(root_.get(), "dir/secret", 0), 0);
  ASSERT_EQ(::fchmodat(root_.get(), "dir", 0000, 0), 0);
  EXPECT_THAT(error_as_nobody(), HasSubstr(absolute("dir")));
  ASSERT_EQ(::fchmodat(root_.get(), "dir", 0755, 0), 0);
}

TEST_F(ScanTest, AnEmptyFileNeedNotBeReadable) {
  file("locked", "", 0000);
  file("again", "", 0000);
  ASSERT_EQ(::linkat(root_.get(), "again", root_.get(), "linked", 0), 0);
  const std::string expected = dump(scan().value());
  EXPECT_THAT(expected, HasSubstr("/locked 0 100000 1 "));
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  pid_t pid = ::fork();
  if (pid == 0) {
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    Result<tree::Tree> tree = scan();
    if (!tree) (void)write_full(2, as_bytes(tree.error().describe() + "\n"));
    ::_exit(tree && dump(*tree) == expected ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

TEST_F(ScanTest, AFileThatIsWrittenToMeanwhileIsNamedOrStoredWhole) {
  file("busy", std::string(2'000'000, 'b'));
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    UniqueFd fd = open_at(root_.get(), "busy", O_WRONLY).value();
    for (uint64_t i = 0; !stop; ++i) {
      (void)pwrite_full(fd.get(), as_bytes(std::to_string(i)), i * 4099 % 1'999'000);
    }
  });
  store::ObjectStore store =
      store::ObjectStore::open(AT_FDCWD, directory_.path() + "/store", {}).value();
  store::Batch batch = store.begin().value();
  bool refused = false;
  for (int round = 0; round < 200 && !refused; ++round) {
    Result<tree::Tree> tree = scan({}, &batch);
    if (tree) continue;
    refused = true;
    EXPECT_EQ(tree.error().code, ErrorCode::kSourceChanged);
    EXPECT_THAT(tree.error().describe(), HasSubstr(absolute("busy")));
  }
  stop = true;
  writer.join();
  EXPECT_TRUE(refused);
  ASSERT_TRUE(batch.commit());
  std::vector<verity::Digest> objects = store.list().value();
  for (const verity::Digest& digest : objects) EXPECT_TRUE(store.open_object(digest));
}

TEST_F(ScanTest, ADirectoryThatChangesMeanwhileIsNamed) {
  directory("busy");
  for (int i = 0; i < 500; ++i) file("busy/f" + std::to_string(i), "");
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint64_t i = 0; !stop; ++i) {
      std::string name = "busy/new" + std::to_string(i);
      (void)::mkfifoat(root_.get(), name.c_str(), 0600);
      (void)::unlinkat(root_.get(), name.c_str(), 0);
    }
  });
  std::string error;
  for (int round = 0; round < 200 && error.empty(); ++round) {
    Result<tree::Tree> tree = scan();
    if (!tree) error = tree.error().describe();
  }
  stop = true;
  writer.join();
  EXPECT_THAT(error, HasSubstr(absolute("busy")));
}

TEST_F(ScanTest, AnInterruptStopsIt) {
  file("file", std::string(100, 'x'));
  pid_t pid = ::fork();
  if (pid == 0) {
    catch_interrupts();
    (void)::raise(SIGTERM);
    Result<tree::Tree> tree = scan();
    ::_exit(!tree && tree.error().code == ErrorCode::kInterrupted ? 42 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

}  // namespace
}  // namespace cfs::scan

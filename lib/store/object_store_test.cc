// SPDX-License-Identifier: Apache-2.0
#include "lib/store/object_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <functional>
#include <thread>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/store/lock.h"
#include "lib/store/verified_cache.h"
#include "lib/verity/kernel.h"

namespace cfs::store {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string content_number(int number, size_t size_bytes) {
  std::string content = std::to_string(number) + ":";
  while (content.size() < size_bytes) content += content;
  content.resize(size_bytes);
  return content;
}

/// A source that yields `content` in pieces of at most `piece_bytes`.
ByteSource source_of(std::string content, size_t piece_bytes = 100'000) {
  return [content = std::move(content), piece_bytes,
          offset = size_t{0}](std::span<std::byte> buffer) mutable -> Result<size_t> {
    size_t count = std::min({buffer.size(), piece_bytes, content.size() - offset});
    std::memcpy(buffer.data(), content.data() + offset, count);
    offset += count;
    return count;
  };
}

class ObjectStoreTest : public testing::Test {
 protected:
  ObjectStore open_store(VerityPolicy verity = VerityPolicy::kIfSupported, mode_t mode = 0644) {
    return ObjectStore::open(root_.get(), "store", {.verity = verity, .object_mode = mode}).value();
  }
  /// Puts `contents` into the store and returns their digests.
  std::vector<verity::Digest> fill(const std::vector<std::string>& contents) {
    ObjectStore store = open_store();
    Batch batch = store.begin().value();
    std::vector<verity::Digest> digests;
    for (const std::string& content : contents) {
      digests.push_back(batch.put_bytes(as_bytes(content)).value().digest);
    }
    EXPECT_TRUE(batch.commit());
    return digests;
  }
  UniqueFd make_file(const std::string& name, const std::string& content) {
    EXPECT_TRUE(write_file_atomically(root_.get(), name, as_bytes(content)));
    return open_at(root_.get(), name, O_RDONLY).value();
  }
  std::string object_path(const verity::Digest& digest) {
    return directory_.path() + "/store/" + digest.object_path();
  }
  /// The object's content as it lies there, unproven.
  std::string raw_object(const verity::Digest& digest) {
    return read_file(AT_FDCWD, object_path(digest), 64 << 20).value();
  }
  void overwrite_object(const verity::Digest& digest, const std::string& content) {
    UniqueFd fd = open_at(AT_FDCWD, object_path(digest), O_WRONLY | O_TRUNC).value();
    ASSERT_TRUE(write_full(fd.get(), as_bytes(content)));
  }
  static std::string cache_path() { return "store/.cfs/" + VerifiedCache::file_name(); }
  /// Temporary directories in the store.
  std::vector<std::string> temporaries() {
    return list_directory(root_.get(), "store/.cfs/tmp").value_or(std::vector<std::string>{});
  }
  /// Every file with an object's name has the content of that name.
  void expect_consistent() {
    ObjectStore store = open_store();
    const std::vector<verity::Digest> digests = store.list().value();
    for (const verity::Digest& digest : digests) {
      EXPECT_EQ(verity::digest_of(as_bytes(raw_object(digest))), digest);
    }
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  UniqueFd root_ = open_at(AT_FDCWD, directory_.path(), O_RDONLY | O_DIRECTORY).value();
};

/// Runs `body` in a child process and returns its exit status; 128 + n when signal n killed it.
int in_child(const std::function<int()>& body) {
  pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_F(ObjectStoreTest, StoresUnderTheFsVerityDigest) {
  ObjectStore store = open_store();
  Batch batch = store.begin().value();
  const std::string content(100, 'a');
  FileDigest object = batch.put_bytes(as_bytes(content)).value();
  // COMPOSEFS-FORMAT.md §18, example B.
  EXPECT_EQ(object.digest.object_path(),
            "2a/a7269baa451a6a9de06bd75d2657b4be63d3be65a9e09fb5beee8ed7f26dd4");
  EXPECT_EQ(object.size_bytes, 100U);
  EXPECT_THAT(store.list().value(), IsEmpty()) << "before the commit";
  EXPECT_FALSE(store.contains(object.digest).value());
  ASSERT_TRUE(batch.commit());
  EXPECT_THAT(store.list().value(), ElementsAre(object.digest));
  EXPECT_TRUE(store.contains(object.digest).value());
  UniqueFd fd = store.open_object(object.digest).value();
  EXPECT_EQ(read_fd(fd.get(), 1000).value(), content);
}

TEST_F(ObjectStoreTest, NothingIsPutBehindASymlink) {
  ObjectStore store = open_store();
  ASSERT_EQ(::symlinkat("..", store.directory_fd(), "2a"), 0);
  Result<Batch> batch = store.begin();
  ASSERT_FALSE(batch);
  EXPECT_EQ(batch.error().code, ErrorCode::kInvalidInput);
  EXPECT_THAT(batch.error().message, HasSubstr("'2a'"));
}

TEST_F(ObjectStoreTest, EveryWayInGivesTheSameObject) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{4097}, Workspace::kPieceBytes + 1,
                      Workspace::kBufferBytes - 1, Workspace::kBufferBytes,
                      Workspace::kBufferBytes + 1, 3 * Workspace::kBufferBytes + 12345}) {
    const std::string content = content_number(1, size);
    const verity::Digest expected = verity::digest_of(as_bytes(content));
    UniqueFd file = make_file("file", content);
    struct stat status = fstat_fd(file.get()).value();
    EXPECT_EQ(digest_file(file.get(), status).value().digest, expected) << size;

    auto stores_it = [&](const std::function<Result<>(Batch&)>& put) {
      ASSERT_TRUE(remove_tree(root_.get(), "store"));
      ObjectStore store = open_store();
      {
        Batch batch = store.begin().value();
        ASSERT_TRUE(put(batch));
        ASSERT_TRUE(batch.commit());
      }
      EXPECT_THAT(store.list().value(), ElementsAre(expected)) << size;
      EXPECT_EQ(raw_object(expected), content) << size;
      EXPECT_THAT(temporaries(), IsEmpty());
    };
    stores_it([&](Batch& batch) -> Result<> {
      EXPECT_EQ(CFS_TRY(batch.put_bytes(as_bytes(content))).digest, expected);
      return {};
    });
    stores_it([&](Batch& batch) -> Result<> {
      EXPECT_EQ(CFS_TRY(batch.put_stream(source_of(content))).size_bytes, size);
      return {};
    });
    stores_it([&](Batch& batch) { return batch.put_expected(expected, source_of(content)); });
    stores_it([&](Batch& batch) -> Result<> {
      EXPECT_EQ(CFS_TRY(batch.put_file(file.get(), status)).digest, expected);
      return {};
    });
  }
}

TEST_F(ObjectStoreTest, HolesOfAStreamAreHolesOfTheObject) {
  struct Piece {
    std::string data;
    uint64_t hole = 0;
  };
  const std::vector<std::vector<Piece>> contents = {
      {{"", 3 << 20}},
      {{"data", 5'000'000}, {"more", 0}},
      {{std::string(2 << 20, 'x'), 1}, {"", 70'000}, {std::string(1'048'576, 'y'), 200'000}},
      {{"", 100}, {"end", 0}},
  };
  for (const std::vector<Piece>& pieces : contents) {
    std::string expected;
    std::deque<Piece> rest(pieces.begin(), pieces.end());
    for (const Piece& piece : pieces) expected += piece.data + std::string(piece.hole, '\0');
    ObjectStore store = open_store();
    Batch batch = store.begin().value();
    Result<FileDigest> put = batch.put_stream(
        [&](std::span<std::byte> buffer) -> Result<size_t> {
          if (rest.empty()) return size_t{0};
          std::string& data = rest.front().data;
          size_t count = std::min(data.size(), buffer.size());
          std::memcpy(buffer.data(), data.data(), count);
          data.erase(0, count);
          return count;
        },
        [&]() -> uint64_t {
          if (rest.empty() || !rest.front().data.empty()) return 0;
          uint64_t hole = rest.front().hole;
          rest.pop_front();
          return hole;
        });
    ASSERT_TRUE(put) << put.error().describe();
    EXPECT_EQ(put->size_bytes, expected.size());
    EXPECT_EQ(put->digest, verity::digest_of(as_bytes(expected)));
    ASSERT_TRUE(batch.commit());
    EXPECT_TRUE(raw_object(put->digest) == expected);
  }
}

TEST_F(ObjectStoreTest, ObjectsHaveTheModeAskedForWhateverTheUmask) {
  mode_t old_mask = ::umask(0077);
  ObjectStore store = open_store(VerityPolicy::kOffline, 0444);
  Batch batch = store.begin().value();
  verity::Digest digest = batch.put_bytes(as_bytes("x")).value().digest;
  ASSERT_TRUE(batch.commit());
  ::umask(old_mask);
  EXPECT_EQ(stat_at(AT_FDCWD, object_path(digest), 0).value().st_mode & 07777, 0444U);
}

TEST_F(ObjectStoreTest, EqualContentsInOneBatchAreOneObject) {
  ObjectStore store = open_store();
  Batch batch = store.begin().value();
  UniqueFd big = make_file("big", content_number(2, 2 << 20));
  struct stat status = fstat_fd(big.get()).value();
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(batch.put_bytes(as_bytes("same")));
    ASSERT_TRUE(batch.put_stream(source_of("same")));
    ASSERT_TRUE(batch.put_file(big.get(), status));
    ASSERT_TRUE(batch.put_stream(source_of(content_number(2, 2 << 20))));
  }
  std::string temporary = "store/.cfs/tmp/" + temporaries().at(0);
  EXPECT_EQ(list_directory(root_.get(), temporary).value().size(), 2U);
  ASSERT_TRUE(batch.commit());
  EXPECT_EQ(store.list().value().size(), 2U);
}

TEST_F(ObjectStoreTest, ABatchDroppedLeavesNothing) {
  ObjectStore store = open_store();
  {
    Batch batch = store.begin().value();
    ASSERT_TRUE(batch.put_bytes(as_bytes("x")));
    EXPECT_EQ(temporaries().size(), 1U);
  }
  EXPECT_THAT(temporaries(), IsEmpty());
  EXPECT_THAT(store.list().value(), IsEmpty());
}

TEST_F(ObjectStoreTest, AWarmBatchWritesNothing) {
  verity::Digest digest = fill({"x"}).at(0);
  struct stat before = stat_at(AT_FDCWD, object_path(digest), 0).value();
  ObjectStore store = open_store();
  Batch batch = store.begin().value();
  ASSERT_TRUE(batch.put_bytes(as_bytes("x")));
  EXPECT_THAT(temporaries(), IsEmpty());
  ASSERT_TRUE(batch.commit());
  EXPECT_EQ(stat_at(AT_FDCWD, object_path(digest), 0).value().st_ino, before.st_ino);
}

TEST_F(ObjectStoreTest, PutExpectedRefusesOtherData) {
  ObjectStore store = open_store();
  Batch batch = store.begin().value();
  for (size_t size : {size_t{10}, size_t{3} << 20}) {
    Result<> result = batch.put_expected(verity::digest_of(as_bytes("wanted")),
                                         source_of(content_number(1, size)));
    EXPECT_EQ(result.error().code, ErrorCode::kDigestMismatch);
  }
  ASSERT_TRUE(batch.put_expected(verity::digest_of(as_bytes("wanted")), source_of("wanted")));
  ASSERT_TRUE(batch.commit());
  EXPECT_EQ(store.list().value().size(), 1U);
}

TEST_F(ObjectStoreTest, ReplaceMakesANewFileOfAnObjectThatSeemsRight) {
  for (const std::string& content : {std::string("wanted"), content_number(1, size_t{3} << 20)}) {
    const verity::Digest digest = fill({content}).front();
    const struct stat before = stat_at(AT_FDCWD, object_path(digest), 0).value();
    ObjectStore store = open_store();
    Batch batch = store.begin().value();
    EXPECT_EQ(batch.replace(digest, source_of("other")).error().code, ErrorCode::kDigestMismatch);
    ASSERT_TRUE(batch.replace(digest, source_of(content)));
    ASSERT_TRUE(batch.commit());
    EXPECT_NE(stat_at(AT_FDCWD, object_path(digest), 0).value().st_ino, before.st_ino);
    EXPECT_TRUE(store.contains(digest).value());
  }
}

TEST_F(ObjectStoreTest, AnErrorOfTheSourceIsPassedOnAndNothingIsStored) {
  ObjectStore store = open_store();
  Batch batch = store.begin().value();
  int calls = 0;
  Result<FileDigest> result = batch.put_stream([&](std::span<std::byte> buffer) -> Result<size_t> {
    if (++calls == 3) return make_error(ErrorCode::kNetwork, "cut");
    return buffer.size();
  });
  EXPECT_EQ(result.error().code, ErrorCode::kNetwork);
  ASSERT_TRUE(batch.put_bytes(as_bytes("good")));  // the workspace is clean again
  ASSERT_TRUE(batch.commit());
  EXPECT_THAT(store.list().value(), ElementsAre(verity::digest_of(as_bytes("good"))));
}

// --- An existing object is never trusted ---

class DamagedObject : public ObjectStoreTest,
                      public testing::WithParamInterface<std::function<void(const std::string&)>> {
};

TEST_P(DamagedObject, IsDetectedAndReplaced) {
  const std::string content = content_number(5, 10'000);
  verity::Digest digest = fill({content}).at(0);
  ::usleep(50'000);
  ASSERT_TRUE(open_store().contains(digest).value());  // now it is in the cache of verified objects
  GetParam()(object_path(digest));
  {
    ObjectStore store = open_store();
    EXPECT_FALSE(store.contains(digest).value());
    EXPECT_FALSE(store.open_object(digest));
    Batch batch = store.begin().value();
    ASSERT_TRUE(batch.put_bytes(as_bytes(content)));
    ASSERT_TRUE(batch.commit());
    EXPECT_TRUE(store.contains(digest).value());
  }
  EXPECT_EQ(raw_object(digest), content);
  EXPECT_TRUE(open_store().open_object(digest));
}

INSTANTIATE_TEST_SUITE_P(
    Every, DamagedObject,
    testing::Values(
        [](const std::string& path) {  // a flipped byte, same size, mtime set back
          struct stat before = stat_at(AT_FDCWD, path, 0).value();
          UniqueFd fd = open_at(AT_FDCWD, path, O_WRONLY).value();
          ASSERT_TRUE(pwrite_full(fd.get(), as_bytes("X"), 5000));
          timespec times[2] = {before.st_atim, before.st_mtim};
          ASSERT_EQ(::futimens(fd.get(), times), 0);
        },
        [](const std::string& path) { ASSERT_EQ(::truncate(path.c_str(), 100), 0); },
        [](const std::string& path) { ASSERT_EQ(::truncate(path.c_str(), 0), 0); },
        [](const std::string& path) {  // another file of the same size and times in its place
          struct stat before = stat_at(AT_FDCWD, path, 0).value();
          ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, as_bytes(std::string(10'000, 'y'))));
          timespec times[2] = {before.st_atim, before.st_mtim};
          ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
        },
        [](const std::string& path) {
          ASSERT_EQ(::unlink(path.c_str()), 0);
          ASSERT_EQ(::symlink("/etc/passwd", path.c_str()), 0);
        },
        [](const std::string& path) {
          ASSERT_EQ(::unlink(path.c_str()), 0);
          ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
        },
        [](const std::string& path) {
          ASSERT_EQ(::unlink(path.c_str()), 0);
          ASSERT_TRUE(make_directories(AT_FDCWD, path + "/with/something/in/it"));
        },
        [](const std::string& path) { ASSERT_EQ(::unlink(path.c_str()), 0); }));

TEST_F(ObjectStoreTest, AnObjectThatItsUserMayNotReadIsReplaced) {
  constexpr uid_t kNobody = 65534;
  const bool is_root = ::geteuid() == 0;
  if (is_root) {
    ASSERT_EQ(::chown(directory_.path().c_str(), kNobody, kNobody), 0);
  }
  int status = in_child([&] {
    if (is_root && (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) return 60;
    const std::string content = content_number(5, 10'000);
    verity::Digest digest = fill({content}).at(0);
    if (::chmod(object_path(digest).c_str(), 0) != 0) return 61;
    ObjectStore store = open_store(VerityPolicy::kOffline);
    Result<UniqueFd> opened = store.open_object(digest);
    if (opened || opened.error().code != ErrorCode::kDigestMismatch) return 62;
    Batch batch = store.begin().value();
    if (!batch.put_expected(digest, source_of(content)) || !batch.commit()) return 63;
    return store.open_object(digest) ? 0 : 64;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(ObjectStoreTest, DirectoriesHaveTheModeAskedForWhateverTheUmask) {
  for (mode_t mask : {mode_t{0}, mode_t{022}, mode_t{077}}) {
    const std::string name = "store" + std::to_string(mask);
    const mode_t old_mask = ::umask(mask);
    {
      ASSERT_TRUE(make_directories(root_.get(), name));
      ObjectStore store =
          ObjectStore::open(
              root_.get(), name,
              {.verity = VerityPolicy::kOffline, .directory_mode = mode_t{0755}, .shown_path = {}})
              .value();
      Batch batch = store.begin().value();
      ASSERT_TRUE(batch.put_bytes(as_bytes("x")));
      ASSERT_TRUE(batch.commit());
    }
    (void)::umask(old_mask);
    auto mode = [&](const std::string& path) {
      return stat_at(root_.get(), name + "/" + path, 0).value().st_mode & 07777U;
    };
    const verity::Digest digest = verity::digest_of(as_bytes("x"));
    EXPECT_EQ(mode(digest.object_path().substr(0, 2)), 0755U);
    EXPECT_EQ(mode(".cfs"), 01755U);
    EXPECT_EQ(mode(".cfs/tmp"), 01755U);
  }
}

TEST_F(ObjectStoreTest, ErrorsOfOpenObjectSayWhatIsWrong) {
  verity::Digest digest = fill({"x"}).at(0);
  ObjectStore store = open_store();
  EXPECT_EQ(store.open_object(verity::digest_of(as_bytes("y"))).error().code, ErrorCode::kNotFound);
  overwrite_object(digest, "z");
  EXPECT_EQ(store.open_object(digest).error().code, ErrorCode::kDigestMismatch);
}

TEST_F(ObjectStoreTest, AnObjectVerifiedOnceIsNotHashedAgain) {
  verity::Digest digest = fill({content_number(1, 100'000)}).at(0);
  ::usleep(50'000);
  ASSERT_TRUE(open_store().contains(digest).value());
  // A change that stat cannot show is the only way to see that nothing was read: forge the entry.
  std::string cache = read_file(root_.get(), cache_path(), 1 << 20).value();
  ASSERT_EQ(cache.size(), 128U);
  overwrite_object(digest, "damaged");
  struct stat now = stat_at(AT_FDCWD, object_path(digest), 0).value();
  VerifiedCache forged =
      VerifiedCache::load(open_at(root_.get(), "store/.cfs", O_RDONLY | O_DIRECTORY).value().get());
  auto nanoseconds = [](const timespec& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
  };
  forged.record(digest, {.inode = now.st_ino,
                         .size_bytes = static_cast<uint64_t>(now.st_size),
                         .mtime_ns = nanoseconds(now.st_mtim),
                         .ctime_ns = nanoseconds(now.st_ctim)});
  ASSERT_TRUE(
      forged.save(open_at(root_.get(), "store/.cfs", O_RDONLY | O_DIRECTORY).value().get()));
  EXPECT_TRUE(open_store().contains(digest).value());
  ASSERT_TRUE(remove_file(root_.get(), cache_path()));
  EXPECT_FALSE(open_store().contains(digest).value());
}

TEST_F(ObjectStoreTest, ADamagedCacheOnlyCostsTime) {
  verity::Digest digest = fill({"x"}).at(0);
  ::usleep(50'000);
  ASSERT_TRUE(open_store().contains(digest).value());
  ASSERT_TRUE(write_file_atomically(root_.get(), cache_path(), as_bytes("garbage"), 0600));
  EXPECT_TRUE(open_store().contains(digest).value());
  EXPECT_NE(read_file(root_.get(), cache_path(), 1000).value(), "garbage");
}

TEST_F(ObjectStoreTest, AStoreThatCannotBeWrittenToCanBeRead) {
  verity::Digest digest = fill({"x"}).at(0);
  ASSERT_TRUE(remove_tree(root_.get(), "store/.cfs"));
  ASSERT_TRUE(write_file_atomically(root_.get(), "store/.cfs", as_bytes("in the way")));
  EXPECT_TRUE(open_store().contains(digest).value());
  EXPECT_FALSE(open_store().begin()) << "but nothing can be added";
}

// --- Other things in the directory ---

TEST_F(ObjectStoreTest, ListTakesObjectNamesOnly) {
  verity::Digest digest = fill({"x"}).at(0);
  std::string store = directory_.path() + "/store/";
  for (const std::string& name : {std::string("zz"), std::string("AB"), digest.hex()}) {
    ASSERT_TRUE(make_directories(AT_FDCWD, store + name));
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, store + name + "/" + digest.hex().substr(2),
                                      as_bytes("x")));
  }
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, store + ".tmpX12345", as_bytes("x")));
  ASSERT_TRUE(
      write_file_atomically(AT_FDCWD, store + digest.hex().substr(0, 2) + "/x", as_bytes("x")));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, store + "fe", as_bytes("a file")));
  EXPECT_THAT(open_store().list().value(), ElementsAre(digest));
}

// --- fs-verity policy. (What happens with fs-verity is tested in a virtual machine.) ---

TEST_F(ObjectStoreTest, WithoutFsVerityTheRequiredPolicyStoresAndOpensNothing) {
  verity::Digest digest = fill({"x"}).at(0);
  {
    UniqueFd fd = open_at(AT_FDCWD, object_path(digest), O_RDONLY).value();
    if (verity::measure(fd.get())) GTEST_SKIP() << "this file system has fs-verity";
  }
  ObjectStore store = open_store(VerityPolicy::kRequired);
  EXPECT_FALSE(store.contains(digest).value());
  EXPECT_EQ(store.open_object(digest).error().code, ErrorCode::kNoVerity);
  Batch batch = store.begin().value();
  ASSERT_TRUE(batch.put_bytes(as_bytes("y")));
  EXPECT_EQ(batch.commit().error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(store.list().value(), ElementsAre(digest));
}

// --- A source that changes while it is read ---

TEST_F(ObjectStoreTest, ASourceChangedSinceItWasLookedAtIsRefused) {
  ObjectStore store = open_store();
  Batch batch = store.begin().value();
  for (size_t size : {size_t{1000}, 2 * Workspace::kBufferBytes}) {
    UniqueFd fd = make_file("file", content_number(1, size));
    struct stat status = fstat_fd(fd.get()).value();
    auto refused = [&] {
      EXPECT_EQ(batch.put_file(fd.get(), status).error().code, ErrorCode::kSourceChanged);
      EXPECT_EQ(digest_file(fd.get(), status).error().code, ErrorCode::kSourceChanged);
    };
    UniqueFd writer = open_at(root_.get(), "file", O_WRONLY).value();
    ::usleep(20'000);  // the kernel's clock for files ticks
    ASSERT_TRUE(pwrite_full(writer.get(), as_bytes("!"), 500));
    refused();
    ASSERT_EQ(::ftruncate(writer.get(), 100), 0);
    refused();
    ASSERT_EQ(::ftruncate(writer.get(), static_cast<off_t>(size) + 1), 0);
    refused();
    status = fstat_fd(fd.get()).value();
    EXPECT_TRUE(batch.put_file(fd.get(), status));
  }
  ASSERT_TRUE(batch.commit());
  expect_consistent();
}

TEST_F(ObjectStoreTest, UnderAConstantWriterWhatIsStoredHasItsDigest) {
  ObjectStore store = open_store();
  int refused = 0;
  for (size_t size : {size_t{900'000}, size_t{5'000'000}}) {
    UniqueFd fd = make_file("file", content_number(1, size));
    std::atomic<bool> stop{false};
    std::thread writer([&] {
      UniqueFd to = open_at(root_.get(), "file", O_WRONLY).value();
      for (uint64_t i = 0; !stop; ++i) {
        (void)pwrite_full(to.get(), as_bytes(std::to_string(i)), (i * 4099) % size);
      }
    });
    Batch batch = store.begin().value();
    for (int round = 0; round < 20; ++round) {
      struct stat status = fstat_fd(fd.get()).value();
      Result<FileDigest> result = batch.put_file(fd.get(), status);
      if (!result) {
        EXPECT_EQ(result.error().code, ErrorCode::kSourceChanged);
        ++refused;
      }
    }
    stop = true;
    writer.join();
    ASSERT_TRUE(batch.commit());
  }
  EXPECT_GT(refused, 0);
  expect_consistent();
}

// --- Two at once ---

TEST_F(ObjectStoreTest, ManyThreadsFillOneBatch) {
  ObjectStore store = open_store();
  Batch batch = store.begin().value();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 100; ++i) {
        // Half of the contents are put by every thread.
        int number = i % 2 == 0 ? i : 1000 * thread + i;
        EXPECT_TRUE(batch.put_bytes(as_bytes(content_number(number, 3000))));
        if (i % 10 == 0) {
          EXPECT_TRUE(batch.put_stream(source_of(content_number(i, 1'200'000))));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(batch.commit());
  EXPECT_EQ(store.list().value().size(), 50U + 4 * 50 + 10);
  expect_consistent();
}

TEST_F(ObjectStoreTest, TwoProcessesFillOneStoreAtOnce) {
  std::vector<pid_t> children;
  for (int process = 0; process < 4; ++process) {
    pid_t pid = ::fork();
    if (pid == 0) {
      for (int round = 0; round < 5; ++round) {
        ObjectStore store = open_store();
        Batch batch = store.begin().value();
        for (int i = 0; i < 40; ++i) {
          Result<FileDigest> put = batch.put_bytes(as_bytes(content_number(i * (round + 1), 5000)));
          if (!put) {
            (void)std::fprintf(stderr, "%s\n", put.error().describe().c_str());
            ::_exit(1);
          }
        }
        if (!batch.commit()) ::_exit(2);
      }
      ::_exit(0);
    }
    children.push_back(pid);
  }
  for (pid_t pid : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
  std::vector<verity::Digest> expected;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 40; ++i) {
      expected.push_back(verity::digest_of(as_bytes(content_number(i * (round + 1), 5000))));
    }
  }
  std::sort(expected.begin(), expected.end());
  expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
  EXPECT_EQ(open_store().list().value(), expected);
  expect_consistent();
  EXPECT_THAT(temporaries(), IsEmpty());
}

TEST_F(ObjectStoreTest, WhatADeadProcessLeftIsRemovedAndALiveBatchIsNot) {
  ObjectStore store = open_store();
  Batch alive = store.begin().value();
  ASSERT_TRUE(alive.put_bytes(as_bytes("alive")));
  const std::vector<std::string> before = temporaries();
  int died = in_child([&] {
    ObjectStore other = open_store();
    Batch batch = other.begin().value();
    if (!batch.put_bytes(as_bytes("dead"))) return 1;
    (void)::raise(SIGKILL);
    return 2;
  });
  EXPECT_EQ(died, 128 + SIGKILL);
  EXPECT_EQ(temporaries().size(), 2U);
  { Batch next = store.begin().value(); }
  EXPECT_EQ(temporaries(), before);
  ASSERT_TRUE(alive.commit());
  EXPECT_THAT(store.list().value(), ElementsAre(verity::digest_of(as_bytes("alive"))));
}

// --- Several users ---

TEST_F(ObjectStoreTest, DirectoriesAreSharedAsTheUmaskSays) {
  mode_t old_mask = ::umask(0002);
  fill({"x"});
  ::umask(old_mask);
  auto mode = [&](const std::string& path) {
    return stat_at(root_.get(), path, 0).value().st_mode & 07777;
  };
  const std::string prefix = verity::digest_of(as_bytes("x")).hex().substr(0, 2);
  EXPECT_EQ(mode("store"), 0775U);
  EXPECT_EQ(mode("store/" + prefix), 0775U);
  // Sticky: nobody puts anything in the place of another user's files.
  EXPECT_EQ(mode("store/.cfs"), 01775U);
  EXPECT_EQ(mode("store/.cfs/tmp"), 01775U);
}

TEST_F(ObjectStoreTest, ASymlinkLeadsNoCleaningElsewhere) {
  ASSERT_TRUE(make_directories(root_.get(), "elsewhere/0123456789abcdef"));
  ASSERT_TRUE(write_file_atomically(root_.get(), "elsewhere/0123456789abcdef/0", as_bytes("x")));
  ASSERT_TRUE(make_directories(root_.get(), "store/.cfs"));
  ASSERT_EQ(::symlinkat("../../elsewhere", root_.get(), "store/.cfs/tmp"), 0);
  EXPECT_FALSE(open_store().begin());
  EXPECT_TRUE(stat_at(root_.get(), "elsewhere/0123456789abcdef/0", 0));
  ASSERT_TRUE(remove_tree(root_.get(), "store/.cfs"));
  ASSERT_TRUE(make_directories(root_.get(), "elsewhere/tmp"));
  ASSERT_EQ(::symlinkat("../elsewhere", root_.get(), "store/.cfs"), 0);
  EXPECT_FALSE(open_store().begin());
}

TEST_F(ObjectStoreTest, OnlyWhatHasTheNameOfATemporaryDirectoryIsRemoved) {
  ASSERT_TRUE(make_directories(root_.get(), "store/.cfs/tmp/0123456789abcdef"));
  ASSERT_TRUE(make_directories(root_.get(), "store/.cfs/tmp/photographs"));
  ASSERT_TRUE(open_store().begin());
  EXPECT_THAT(temporaries(), ElementsAre("photographs"));
}

/// Two users of one store.
class SharedStore : public ObjectStoreTest {
 protected:
  static constexpr uid_t kAlice = 12345;
  static constexpr uid_t kMallory = 12346;

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can be two users";
    ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
    ASSERT_TRUE(make_directories(root_.get(), "store"));
    ASSERT_EQ(::fchmodat(root_.get(), "store", 0777, 0), 0);
  }
  /// 0, or what `body` says is wrong.
  static int as_user(uid_t user, mode_t mask, const std::function<int()>& body) {
    return in_child([&] {
      if (::setresgid(user, user, user) != 0 || ::setresuid(user, user, user) != 0) return 100;
      ::umask(mask);
      return body();
    });
  }
  int put(const std::string& content) {
    ObjectStore store = open_store();
    Result<Batch> batch = store.begin();
    if (!batch) return 1;
    Result<FileDigest> put = batch->put_bytes(as_bytes(content));
    if (!put) return put.error().code == ErrorCode::kPermission ? 13 : 2;
    Result<> done = batch->commit();
    if (!done) return done.error().code == ErrorCode::kPermission ? 13 : 3;
    return store.contains(put->digest).value() ? 0 : 4;
  }
};

TEST_F(SharedStore, BothAddObjectsWhereTheUmaskAllows) {
  for (int i = 0; i < 20; ++i) {
    uid_t user = i % 2 == 0 ? kAlice : kMallory;
    ASSERT_EQ(as_user(user, 0, [&] { return put(content_number(i, 100)); }), 0) << i;
    ASSERT_EQ(as_user(user, 0, [&] { return put("the same"); }), 0) << i;
  }
  EXPECT_EQ(open_store().list().value().size(), 21U);
  expect_consistent();
}

TEST_F(SharedStore, AStoreOfAnotherUserIsUsedWithoutWritingToIt) {
  ASSERT_EQ(as_user(kAlice, 022, [&] { return put("x"); }), 0);
  EXPECT_EQ(as_user(kMallory, 022, [&] { return put("x"); }), 0);
  EXPECT_EQ(as_user(kMallory, 022, [&] { return put("y"); }), 13) << "the umask forbids it";
  EXPECT_EQ(as_user(kAlice, 022, [&] { return put("y"); }), 0);
}

TEST_F(SharedStore, WhatADeadProcessOfAnotherUserLeftStays) {
  ASSERT_EQ(as_user(kAlice, 0,
                    [&] {
                      ObjectStore store = open_store();
                      Batch batch = store.begin().value();
                      if (!batch.put_bytes(as_bytes("dead"))) return 1;
                      (void)::raise(SIGKILL);
                      return 2;
                    }),
            128 + SIGKILL);
  ASSERT_EQ(temporaries().size(), 1U);
  EXPECT_EQ(as_user(kMallory, 0, [&] { return put("x"); }), 0);
  EXPECT_EQ(temporaries().size(), 1U);
  EXPECT_EQ(as_user(kAlice, 0, [&] { return put("y"); }), 0);
  EXPECT_THAT(temporaries(), IsEmpty());
}

TEST_F(SharedStore, TheHintOfAnotherUserIsNotBelieved) {
  const verity::Digest digest = verity::digest_of(as_bytes("the truth"));
  ASSERT_EQ(as_user(kMallory, 0, [&] { return put("something else"); }), 0);
  // A wrong object, and the hint that it is right: Mallory's own, moved under the other's name.
  ASSERT_EQ(
      as_user(kMallory, 0,
              [&] {
                std::string prefix = digest.hex().substr(0, 2);
                if (!make_directories(root_.get(), "store/" + prefix, 0777)) return 1;
                if (!write_file_atomically(root_.get(), "store/" + digest.object_path(),
                                           as_bytes("a lie"))) {
                  return 2;
                }
                struct stat lie = stat_at(AT_FDCWD, object_path(digest), 0).value();
                UniqueFd own = open_at(root_.get(), "store/.cfs", O_RDONLY).value();
                VerifiedCache forged = VerifiedCache::load(own.get());
                auto nanoseconds = [](const timespec& time) {
                  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 +
                         static_cast<uint64_t>(time.tv_nsec);
                };
                forged.record(digest, {.inode = lie.st_ino,
                                       .size_bytes = static_cast<uint64_t>(lie.st_size),
                                       .mtime_ns = nanoseconds(lie.st_mtim),
                                       .ctime_ns = nanoseconds(lie.st_ctim)});
                if (!forged.save(own.get())) return 3;
                std::string stolen = "verified-" + std::to_string(kAlice);
                return rename_at(own.get(), VerifiedCache::file_name(), own.get(), stolen) ? 0 : 4;
              }),
      0);
  EXPECT_EQ(as_user(kAlice, 0, [&] { return open_store().contains(digest).value() ? 1 : 0; }), 0);
  EXPECT_EQ(as_user(kAlice, 0, [&] { return put("the truth"); }), 0);
  EXPECT_EQ(raw_object(digest), "the truth");
}

TEST_F(SharedStore, AnObjectOfAnotherUserIsHashedEveryTime) {
  ASSERT_EQ(as_user(kMallory, 0, [&] { return put("x"); }), 0);
  ::usleep(50'000);
  const verity::Digest digest = verity::digest_of(as_bytes("x"));
  auto look = [&](uid_t user) {
    return as_user(user, 0, [&] { return open_store().contains(digest).value() ? 0 : 1; });
  };
  auto has_hint = [&](uid_t user) {
    return stat_at(root_.get(), "store/.cfs/verified-" + std::to_string(user), 0).has_value();
  };
  EXPECT_EQ(look(kMallory), 0);
  EXPECT_TRUE(has_hint(kMallory));
  EXPECT_EQ(look(kAlice), 0);
  EXPECT_FALSE(has_hint(kAlice));
}

// --- Interrupted ---

TEST_F(ObjectStoreTest, CtrlCRemovesTheTemporaryFiles) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  pid_t pid = ::fork();
  if (pid == 0) {
    catch_interrupts();
    auto build = [&]() -> Result<> {
      ObjectStore store = open_store();
      Batch batch = CFS_TRY(store.begin());
      for (int i = 0;; ++i) {
        CFS_TRY(batch.put_bytes(as_bytes(content_number(i, 5000))));
        // An endless stream: the signal must be seen inside one object too.
        if (i == 20) {
          if (::write(ready[1], "x", 1) != 1) ::_exit(4);
          CFS_TRY(batch.put_stream([](std::span<std::byte>) -> Result<size_t> {
            ::usleep(100);
            return 1;
          }));
        }
      }
    };
    Result<> result = build();
    ::_exit(!result && result.error().code == ErrorCode::kInterrupted ? 42 : 1);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(temporaries().size(), 1U);
  ASSERT_EQ(::kill(pid, SIGINT), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 42);
  EXPECT_THAT(temporaries(), IsEmpty());
  EXPECT_THAT(open_store().list().value(), IsEmpty());
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(ObjectStoreTest, CtrlCDuringCommitLeavesWholeObjectsOnly) {
  int status = in_child([&] {
    catch_interrupts();
    ObjectStore store = open_store();
    Batch batch = store.begin().value();
    for (int i = 0; i < 50; ++i) (void)batch.put_bytes(as_bytes(content_number(i, 5000)));
    (void)::raise(SIGINT);
    Result<> result = batch.commit();
    return !result && result.error().code == ErrorCode::kInterrupted ? 42 : 1;
  });
  EXPECT_EQ(status, 42);
  expect_consistent();
  EXPECT_THAT(temporaries(), IsEmpty());
}

// --- Disk full ---

/// Fills the store in `path` until it fails. Exit status of the failure, 50 if it never failed, 51
/// if the temporary files stayed.
int fill_until_full(const std::string& path) {
  auto build = [&]() -> Result<> {
    ObjectStore store = CFS_TRY(ObjectStore::open(AT_FDCWD, path, {}));
    {
      Batch small = CFS_TRY(store.begin());
      CFS_TRY(small.put_bytes(as_bytes("fits")));
      CFS_TRY(small.commit());
    }
    Batch batch = CFS_TRY(store.begin());
    for (int i = 0; i < 100; ++i) {
      CFS_TRY(batch.put_bytes(as_bytes(content_number(i, 200'000))));
      CFS_TRY(batch.put_stream(source_of(content_number(i, 1'500'000))));
    }
    return batch.commit();
  };
  Result<> result = build();
  if (result) return 50;
  Result<std::vector<std::string>> left = list_directory(AT_FDCWD, path + "/.cfs/tmp");
  if (left && !left->empty()) return 51;
  // What was there before is there still, and nothing else.
  Result<ObjectStore> store = ObjectStore::open(AT_FDCWD, path, {});
  Result<std::vector<verity::Digest>> objects = store->list();
  if (!objects || objects->size() != 1) return 52;
  Result<bool> good = store->contains(objects->at(0));
  if (!good || !*good) return 53;
  return exit_status(result.error().code);
}

TEST_F(ObjectStoreTest, RemovesAllButWhatIsToBeKept) {
  std::vector<verity::Digest> all;
  for (int number = 0; number < 300; ++number) {
    all.push_back(fill({content_number(number, 5000)}).front());
  }
  std::vector<verity::Digest> keep(all.begin(), all.begin() + 100);
  std::sort(keep.begin(), keep.end());
  const std::string others = directory_.path() + "/store/" + all[200].object_path().substr(0, 2);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, others + "/note", as_bytes("not an object")));
  ObjectStore store = open_store();

  Removed counted = store.remove_all_but(keep, Removal::kOnlyCount).value();
  EXPECT_EQ(counted.objects, 200u);
  EXPECT_GE(counted.disk_bytes, 200u * 8192);
  EXPECT_EQ(store.list().value().size(), 300u);

  {
    ObjectStore reader = open_store();
    EXPECT_EQ(store.remove_all_but(keep, Removal::kRemove).error().code, ErrorCode::kBusy);
  }
  EXPECT_EQ(store.list().value().size(), 300u);

  Removed removed = store.remove_all_but(keep, Removal::kRemove).value();
  EXPECT_EQ(removed.objects, 200u);
  EXPECT_EQ(removed.disk_bytes, counted.disk_bytes);
  std::vector<verity::Digest> left = store.list().value();
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, keep);
  EXPECT_EQ(read_file(AT_FDCWD, others + "/note", 100).value(), "not an object");
  // It is in use again.
  EXPECT_EQ(lock_for_removal(store.directory_fd()).error().code, ErrorCode::kBusy);
}

TEST_F(ObjectStoreTest, AFileThatCannotGrowIsNoSpace) {
  int status = in_child([&] {
    (void)::signal(SIGXFSZ, SIG_IGN);
    rlimit limit = {.rlim_cur = 1'000'000, .rlim_max = RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 60;
    return fill_until_full(directory_.path() + "/store");
  });
  EXPECT_EQ(status, exit_status(ErrorCode::kNoSpace));
}

TEST_F(ObjectStoreTest, AFullFileSystemIsNoSpace) {
  int status = in_child([&] {
    // As root, or as anybody where user namespaces are allowed.
    if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return 60;
    // EINVAL: / is no mount point (a chroot). The mount below is then undone by hand.
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 && errno != EINVAL) {
      return 61;
    }
    if (::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, "size=5m,mode=0777") != 0) {
      return 62;
    }
    int result = fill_until_full(directory_.path() + "/store");
    return ::umount2(directory_.path().c_str(), MNT_DETACH) == 0 ? result : 63;
  });
  ASSERT_LT(status, 60) << "needs root or user namespaces to mount a small tmpfs";
  EXPECT_EQ(status, exit_status(ErrorCode::kNoSpace));
}

}  // namespace
}  // namespace cfs::store

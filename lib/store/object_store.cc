// SPDX-License-Identifier: Apache-2.0
//
// How objects become durable. The usual way, one fsync an object, waits for the disk once an
// object: seconds for the 15,000 files of a small system. Here all objects of a batch are written
// under temporary names first; one syncfs makes their data durable, all at once; then they are
// renamed into place and a second syncfs makes the names durable. At every instant a name
// `ab/cdef…` either does not exist or belongs to data that is on the disk. An fsync of each of the
// 256 directories would make the names durable too; on ext4, with 15,000 new names, that took 0.15
// to 0.90 s and the one syncfs 0.01 to 0.11 s. The price: syncfs also waits for what others are
// writing to the same file system.
//
// The kernel leaves gigabytes in memory before it begins to write by itself, and the disk would
// stand still until the syncfs. So the parts of large objects are handed to it as they come
// (sync_file_range), and it works while the next ones are hashed. Small objects wait: all at once,
// the kernel makes larger requests of them.
//
// fs-verity is enabled between the first sync and the rename: the kernel computes the tree from the
// page cache, and after a power cut data that had not been written back would be zeros under a
// valid tree.
#include "lib/store/object_store.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "lib/base/check.h"
#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/base/relative_path.h"
#include "lib/base/work_directory.h"
#include "lib/store/lock.h"
#include "lib/store/verified_cache.h"
#include "lib/verity/kernel.h"

namespace cfs::store {
namespace {

constexpr char kPrivateDirectory[] = ".cfs";
constexpr char kTemporaryDirectory[] = "tmp";  // in the private one
constexpr size_t kFanOutDigits = 2;
// Less the umask, unless the store's options say which mode. In what is our own, users who share
// the store leave each other's files alone.
constexpr mode_t kDirectoryMode = 0777;
constexpr mode_t kStickyBit = 01000;

std::string in_quotes(const verity::Digest& digest) {
  return "object '" + digest.object_path() + "'";
}

/// Is it the name of a directory of objects, "00" to "ff"?
bool is_fan_out(const std::string& name) {
  std::array<std::byte, 1> first;
  return name.size() == kFanOutDigits && from_hex(name, first) && to_hex(first) == name;
}

StatIdentity identity_of(const struct stat& status) {
  auto nanoseconds = [](const timespec& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
  };
  return {.inode = status.st_ino,
          .size_bytes = static_cast<uint64_t>(status.st_size),
          .mtime_ns = nanoseconds(status.st_mtim),
          .ctime_ns = nanoseconds(status.st_ctim)};
}

/// A directory of the store's own, never by way of a symlink that somebody has put there.
Result<UniqueFd> open_own_directory(int dir_fd, const std::string& name) {
  return open_at(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

/// Makes a directory unless it is there: of the mode that the options say, or of 0777 less the
/// umask.
Result<> make_directory(int dir_fd, const std::string& name, const StoreOptions& options,
                        mode_t special_bits) {
  const mode_t mode = options.directory_mode.value_or(kDirectoryMode) | special_bits;
  if (::mkdirat(dir_fd, name.c_str(), mode) != 0) {
    return make_directories(dir_fd, name);  // there already, or an error
  }
  // A name that was made in this instant is ours: nobody else has had time to replace it.
  if (options.directory_mode && ::fchmodat(dir_fd, name.c_str(), mode, 0) != 0) {
    return errno_error("cannot change the mode of '" + name + "'");
  }
  return {};
}

Result<UniqueFd> make_own_directory(int dir_fd, const std::string& name,
                                    const StoreOptions& options) {
  CFS_TRY(make_directory(dir_fd, name, options, kStickyBit));
  return open_own_directory(dir_fd, name);
}

/// So much of an object is written before the disk is told to begin.
constexpr uint64_t kWritebackBytes = 8 << 20;

/// Makes the kernel begin to write a part of a file to the disk, without waiting for it. Where that
/// is not possible, it begins later.
void start_writeback(int fd, uint64_t offset, uint64_t size_bytes) {
  (void)::sync_file_range(fd, static_cast<off64_t>(offset), static_cast<off64_t>(size_bytes),
                          SYNC_FILE_RANGE_WRITE);
}

/// Copies `size_bytes` bytes of the regular file `from` to the empty file `to`: shared extents
/// where the file system can, else a copy inside the kernel, else one through our buffer.
Result<> copy_content(int from, int to, uint64_t size_bytes) {
  if (::ioctl(to, FICLONE, from) == 0) return {};
  off_t from_offset = 0;
  while (static_cast<uint64_t>(from_offset) < size_bytes) {
    CFS_TRY(check_interrupted());
    auto done = static_cast<uint64_t>(from_offset);
    ssize_t count =
        ::copy_file_range(from, &from_offset, to, nullptr,
                          static_cast<size_t>(std::min(kWritebackBytes, size_bytes - done)), 0);
    if (count > 0) {
      start_writeback(to, done, static_cast<uint64_t>(count));
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO)) {
      return errno_error("cannot copy");
    }
    break;  // not between these files, or the source is shorter now, which the caller detects
  }
  Workspace workspace;
  std::span<std::byte> buffer = workspace.buffer();
  for (auto offset = static_cast<uint64_t>(from_offset); offset < size_bytes;) {
    CFS_TRY(check_interrupted());
    size_t wanted = static_cast<size_t>(std::min<uint64_t>(buffer.size(), size_bytes - offset));
    size_t count = CFS_TRY(pread_full(from, buffer.first(wanted), offset));
    CFS_TRY(pwrite_full(to, buffer.first(count), offset));
    offset += count;
    if (count < wanted) break;
  }
  return {};
}

/// Tells ext4 to take each directory made in this one for the start of something new and to give it
/// a part of the disk of its own. Otherwise all objects ever made share one block group, and where
/// thousands of them have been deleted in the last minutes, ext4 looks at each of those again for
/// every new file: three times the time of a whole build. Other file systems refuse; ignoring.
void spread_on_disk(int directory_fd) {
  int flags = 0;  // the kernel reads and writes an int, whatever the ioctl's number says
  if (::ioctl(directory_fd, FS_IOC_GETFLAGS, &flags) != 0) return;
  if ((flags & FS_TOPDIR_FL) != 0) return;
  flags |= FS_TOPDIR_FL;
  (void)::ioctl(directory_fd, FS_IOC_SETFLAGS, &flags);
}

enum class Proof { kMissing, kGood, kWrong, kNoVerity };

/// A file under a temporary name; removed unless it is kept.
class TemporaryObject {
 public:
  static Result<TemporaryObject> create(int dir_fd, uint64_t number, mode_t mode) {
    TemporaryObject object(dir_fd, number);
    object.file_ = CFS_TRY(open_at(dir_fd, object.name(), O_RDWR | O_CREAT | O_EXCL, mode));
    if (::fchmod(object.file_.get(), mode) != 0) return errno_error("cannot chmod");
    return object;
  }
  TemporaryObject(TemporaryObject&& other) noexcept
      : dir_fd_(std::exchange(other.dir_fd_, -1)),
        number_(other.number_),
        file_(std::move(other.file_)) {}
  TemporaryObject& operator=(TemporaryObject&&) = delete;
  ~TemporaryObject() {
    if (dir_fd_ >= 0) (void)remove_file(dir_fd_, name());
  }

  static std::string name_of(uint64_t number) { return std::to_string(number); }
  [[nodiscard]] std::string name() const { return name_of(number_); }
  [[nodiscard]] uint64_t number() const { return number_; }
  [[nodiscard]] int fd() const { return file_.get(); }
  void keep() {
    dir_fd_ = -1;
    file_.reset();
  }

 private:
  TemporaryObject(int dir_fd, uint64_t number) : dir_fd_(dir_fd), number_(number) {}
  int dir_fd_;
  uint64_t number_;
  UniqueFd file_;
};

}  // namespace

struct ObjectStore::State {
  State(UniqueFd opened, FileLock lock) : directory(std::move(opened)), in_use(std::move(lock)) {}

  UniqueFd directory;
  std::optional<FileLock> in_use;  ///< none while objects are removed
  std::string path;
  StoreOptions options;
  uid_t user = ::geteuid();

  /// Looks at an object. `opened`, unless null, receives its descriptor when it is good.
  Result<Proof> prove(const verity::Digest& digest, UniqueFd* opened);

  bool cache_matches(const verity::Digest& digest, const struct stat& status);
  void cache_record(const verity::Digest& digest, const struct stat& status);
  void save_cache();

  /// Removes what batches of dead processes have left behind.
  Result<> remove_stale() const;

  /// What stands in the place of a directory of objects has to be one: overlayfs follows no
  /// symlinks there, so what lies behind one could never be read.
  Result<> check_directories();

 private:
  VerifiedCache& loaded_cache();
  [[nodiscard]] bool can_be_remembered(const struct stat& status) const;

  std::mutex cache_mutex_;
  std::optional<VerifiedCache> cache_;
};

Result<> ObjectStore::State::check_directories() {
  for (const std::string& name : CFS_TRY(list_directory(directory.get(), "."))) {
    if (!is_fan_out(name)) continue;
    Result<struct stat> status = stat_at(directory.get(), name, AT_SYMLINK_NOFOLLOW);
    if (!status && status.error().code == ErrorCode::kNotFound) continue;
    if (!status) return std::move(status).error();
    if (!S_ISDIR(status->st_mode)) {
      return make_error(ErrorCode::kInvalidInput,
                        "'" + name + "' in the store '" + path + "' is not a directory")
          .with_hint("objects are mounted from real directories only; move it away");
    }
  }
  return {};
}

VerifiedCache& ObjectStore::State::loaded_cache() {
  if (!cache_) {
    Result<UniqueFd> fd = open_own_directory(directory.get(), kPrivateDirectory);
    cache_ = fd ? VerifiedCache::load(fd->get()) : VerifiedCache();
  }
  return *cache_;
}

/// Another user's object is hashed every time: through a mapping made earlier its owner can change
/// it without leaving a trace in its times.
bool ObjectStore::State::can_be_remembered(const struct stat& status) const {
  return status.st_uid == user || status.st_uid == 0;
}

bool ObjectStore::State::cache_matches(const verity::Digest& digest, const struct stat& status) {
  if (!can_be_remembered(status)) return false;
  std::lock_guard lock(cache_mutex_);
  return loaded_cache().matches(digest, identity_of(status));
}

void ObjectStore::State::cache_record(const verity::Digest& digest, const struct stat& status) {
  if (!can_be_remembered(status)) return;
  std::lock_guard lock(cache_mutex_);
  loaded_cache().record(digest, identity_of(status));
}

void ObjectStore::State::save_cache() {
  std::lock_guard lock(cache_mutex_);
  if (!cache_ || !cache_->changed()) return;
  Result<UniqueFd> fd = make_own_directory(directory.get(), kPrivateDirectory, options);
  // A store that cannot be written to, or a full disk: the next run hashes again.
  if (fd) (void)cache_->save(fd->get());
}

Result<Proof> ObjectStore::State::prove(const verity::Digest& digest, UniqueFd* opened) {
  std::string name = digest.object_path();
  if (opened == nullptr && options.verity != VerityPolicy::kRequired) {
    // The warm build's path: one system call an object.
    struct stat status = {};
    if (::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return Proof::kMissing;
      return errno_error("cannot stat " + in_quotes(digest));
    }
    if (!S_ISREG(status.st_mode)) return Proof::kWrong;
    if (cache_matches(digest, status)) return Proof::kGood;
  }
  Result<UniqueFd> file = open_beneath(directory.get(), name, O_RDONLY | O_NONBLOCK);
  if (!file) {
    Error error = std::move(file).error();
    if (error.code == ErrorCode::kNotFound || error.sys_errno == ENOTDIR) return Proof::kMissing;
    // A symlink, a socket, or a file that we may not read: not an object that anybody can use.
    if (error.sys_errno == ELOOP || error.sys_errno == ENXIO || error.sys_errno == EACCES) {
      return Proof::kWrong;
    }
    return error;
  }
  uint64_t now_ns = file_clock_ns();
  struct stat status = CFS_TRY(fstat_fd(file->get()));
  if (!S_ISREG(status.st_mode)) return Proof::kWrong;
  Result<verity::Digest> measured = verity::measure(file->get());
  bool good = false;
  if (measured) {
    good = *measured == digest;
  } else if (measured.error().code == ErrorCode::kUnsupported) {
    return Proof::kWrong;  // another hash algorithm: not an object of this store
  } else if (measured.error().code != ErrorCode::kNoVerity) {
    return Error(std::move(measured).error()).with("while checking " + in_quotes(digest));
  } else if (options.verity == VerityPolicy::kRequired) {
    return Proof::kNoVerity;
  } else if (cache_matches(digest, status)) {
    good = true;
  } else {
    Result<FileDigest> found = digest_file(file->get(), status);
    if (!found && found.error().code == ErrorCode::kSourceChanged) {
      // Another writer has just replaced it, which moves the old file's ctime: look at the new
      // one. If it is the same file still, somebody writes to the object itself.
      Result<struct stat> now = stat_at(directory.get(), name, AT_SYMLINK_NOFOLLOW);
      bool replaced = !now || now->st_ino != status.st_ino;
      return replaced ? prove(digest, opened) : Proof::kWrong;
    }
    if (!found) return std::move(found).error().with("while checking " + in_quotes(digest));
    good = found->digest == digest;
    if (good && !is_recent(identity_of(status), now_ns)) {
      cache_record(digest, status);
    }
  }
  if (!good) return Proof::kWrong;
  if (opened != nullptr) *opened = std::move(*file);
  return Proof::kGood;
}

Result<> ObjectStore::State::remove_stale() const {
  auto remove = [&]() -> Result<> {
    UniqueFd own = CFS_TRY(open_own_directory(directory.get(), kPrivateDirectory));
    UniqueFd parent = CFS_TRY(open_own_directory(own.get(), kTemporaryDirectory));
    return TemporaryName::remove_stale(parent.get(), "");
  };
  Result<> removed = remove();
  if (removed || removed.error().code == ErrorCode::kNotFound) return {};
  if (removed.error().sys_errno == EACCES) return {};  // another user's store
  return removed;
}

ObjectStore::ObjectStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
ObjectStore::ObjectStore(ObjectStore&&) noexcept = default;
ObjectStore& ObjectStore::operator=(ObjectStore&&) noexcept = default;
ObjectStore::~ObjectStore() {
  if (state_) state_->save_cache();
}

Result<ObjectStore> ObjectStore::open(int dir_fd, const std::string& path,
                                      const StoreOptions& options) {
  CFS_TRY(make_directories(dir_fd, path, options.directory_mode.value_or(kDirectoryMode)));
  UniqueFd directory = CFS_TRY(open_at(dir_fd, path, O_RDONLY | O_DIRECTORY));
  FileLock in_use =
      CFS_TRY_WITH("while opening the store '" + path + "'", lock_for_use(directory.get()));
  auto state = std::make_unique<State>(std::move(directory), std::move(in_use));
  state->path = options.shown_path.empty() ? path : options.shown_path;
  state->options = options;
  return ObjectStore(std::move(state));
}

int ObjectStore::directory_fd() const { return state_->directory.get(); }

Result<bool> ObjectStore::contains(const verity::Digest& digest) const {
  return CFS_TRY(state_->prove(digest, nullptr)) == Proof::kGood;
}

Result<UniqueFd> ObjectStore::open_object(const verity::Digest& digest) const {
  UniqueFd fd;
  switch (CFS_TRY(state_->prove(digest, &fd))) {
    case Proof::kGood:
      return fd;
    case Proof::kMissing:
      return make_error(ErrorCode::kNotFound,
                        in_quotes(digest) + " is not in the store '" + state_->path + "'");
    case Proof::kNoVerity:
      return make_error(ErrorCode::kNoVerity, in_quotes(digest) + " in the store '" + state_->path +
                                                  "' has no fs-verity");
    case Proof::kWrong:
      break;
  }
  return make_error(ErrorCode::kDigestMismatch, in_quotes(digest) + " in the store '" +
                                                    state_->path +
                                                    "' does not have the content of that digest");
}

Result<std::vector<verity::Digest>> ObjectStore::list() const {
  std::vector<verity::Digest> digests;
  for (const std::string& prefix : CFS_TRY(list_directory(state_->directory.get(), "."))) {
    if (!is_fan_out(prefix)) continue;
    Result<std::vector<std::string>> names = list_directory(state_->directory.get(), prefix);
    if (!names && names.error().sys_errno == ENOTDIR) continue;
    for (const std::string& name : CFS_TRY(std::move(names))) {
      std::optional<verity::Digest> digest = verity::Digest::from_object_path(prefix + "/" + name);
      if (digest) digests.push_back(*digest);
    }
  }
  return digests;
}

Result<Removed> ObjectStore::remove_all_but(std::span<const verity::Digest> keep, Removal removal) {
  if (removal == Removal::kOnlyCount) return sweep(state_->directory.get(), keep, removal);
  const int directory = state_->directory.get();
  state_->in_use.reset();
  auto remove_alone = [&]() -> Result<Removed> {
    FileLock alone = CFS_TRY(lock_for_removal(directory));
    CFS_TRY(state_->remove_stale());
    return sweep(directory, keep, removal);
  };
  Result<Removed> removed = remove_alone();
  state_->in_use = CFS_TRY(lock_for_use(directory));
  return removed;
}

struct Batch::State {
  struct Pending {
    uint64_t number = 0;    ///< name in the temporary directory
    StatIdentity identity;  ///< when it was whole
  };

  ObjectStore::State* store = nullptr;
  std::atomic<uint64_t> next_number{0};

  std::mutex mutex;                          ///< protects what follows
  std::optional<WorkDirectory> temporaries;  ///< made when the first object needs it
  std::unordered_map<verity::Digest, Pending> pending;
  std::unordered_set<verity::Digest> distrusted;  ///< whatever the store says of them
  bool committed = false;

  /// Is the object in the batch, or good in the store?
  Result<bool> has(const verity::Digest& digest);
  Result<TemporaryObject> create_temporary();
  /// Makes a finished temporary file an object of the batch.
  Result<> adopt(const verity::Digest& digest, TemporaryObject object);
  Result<> add_bytes(const verity::Digest& digest, Bytes content);
  /// put_stream and put_expected. `expected` may be null.
  Result<FileDigest> add_stream(const ByteSource& source, const HoleSource& holes,
                                const verity::Digest* expected);

  Result<int> temporary_directory();
  Result<> publish(const verity::Digest& digest, const Pending& object, bool& verity_works);
  void record_published(bool verity_works);
};

Result<int> Batch::State::temporary_directory() {
  std::lock_guard lock(mutex);
  if (!temporaries) {
    UniqueFd own =
        CFS_TRY(make_own_directory(store->directory.get(), kPrivateDirectory, store->options));
    UniqueFd parent = CFS_TRY(make_own_directory(own.get(), kTemporaryDirectory, store->options));
    spread_on_disk(parent.get());
    temporaries.emplace(CFS_TRY_WITH("in the store '" + store->path + "'",
                                     WorkDirectory::create(parent.get(), ".", "")));
  }
  return temporaries->fd();
}

Result<TemporaryObject> Batch::State::create_temporary() {
  int directory = CFS_TRY(temporary_directory());
  return TemporaryObject::create(directory, next_number++, store->options.object_mode);
}

Result<bool> Batch::State::has(const verity::Digest& digest) {
  {
    std::lock_guard lock(mutex);
    CFS_CHECK(!committed);
    if (pending.contains(digest)) return true;
    if (distrusted.contains(digest)) return false;
  }
  return CFS_TRY(store->prove(digest, nullptr)) == Proof::kGood;
}

Result<> Batch::State::adopt(const verity::Digest& digest, TemporaryObject object) {
  struct stat status = CFS_TRY(fstat_fd(object.fd()));
  Pending entry{.number = object.number(), .identity = identity_of(status)};
  std::lock_guard lock(mutex);
  if (pending.try_emplace(digest, entry).second) object.keep();
  return {};
}

Result<> Batch::State::add_bytes(const verity::Digest& digest, Bytes content) {
  if (CFS_TRY(has(digest))) return {};
  TemporaryObject object = CFS_TRY(create_temporary());
  CFS_TRY_WITH("while writing " + in_quotes(digest), write_full(object.fd(), content));
  return adopt(digest, std::move(object));
}

Result<FileDigest> Batch::State::add_stream(const ByteSource& source, const HoleSource& holes,
                                            const verity::Digest* expected) {
  auto check_expected = [&](const verity::Digest& found) -> Result<> {
    if (expected == nullptr || *expected == found) return {};
    return make_error(
        ErrorCode::kDigestMismatch,
        in_quotes(*expected) + " was expected, the data has the digest '" + found.hex() + "'");
  };
  Workspace workspace;
  std::span<std::byte> buffer = workspace.buffer();
  verity::MerkleHasher& hasher = workspace.hasher();
  std::optional<TemporaryObject> object;
  uint64_t handed_over = 0;  // to the disk
  for (;;) {
    size_t used = 0;
    uint64_t hole = 0;
    while (used < buffer.size()) {
      CFS_TRY(check_interrupted());  // a network may yield single bytes
      if (holes) hole = holes();
      if (hole > 0) break;
      size_t count = CFS_TRY(source(buffer.subspan(used)));
      CFS_CHECK(count <= buffer.size() - used);
      if (count == 0) break;
      used += count;
    }
    Bytes piece = buffer.first(used);
    hasher.update(piece);
    bool ended = used < buffer.size() && hole == 0;
    if (ended && !object) {  // the usual case: nothing is written unless it has to be
      FileDigest result{.digest = {}, .size_bytes = hasher.size_bytes()};
      result.digest = hasher.finish();
      CFS_TRY(check_expected(result.digest));
      CFS_TRY(add_bytes(result.digest, piece));
      return result;
    }
    if (!object) object.emplace(CFS_TRY(create_temporary()));
    CFS_TRY_WITH("while writing an object", write_full(object->fd(), piece));
    if (uint64_t end = hasher.size_bytes(); end - handed_over >= kWritebackBytes) {
      start_writeback(object->fd(), handed_over, end - handed_over);
      handed_over = end;
    }
    if (ended) break;
    if (hole > 0) {
      hasher.update_zeros(hole);
      off_t end = static_cast<off_t>(hasher.size_bytes());
      if (::ftruncate(object->fd(), end) != 0 || ::lseek(object->fd(), end, SEEK_SET) != end) {
        return errno_error("cannot write an object of " + std::to_string(end) + " bytes");
      }
    }
  }
  FileDigest result{.digest = {}, .size_bytes = hasher.size_bytes()};
  result.digest = hasher.finish();
  CFS_TRY(check_expected(result.digest));
  if (!CFS_TRY(has(result.digest))) CFS_TRY(adopt(result.digest, *std::move(object)));
  return result;
}

Result<> Batch::State::publish(const verity::Digest& digest, const Pending& object,
                               bool& verity_works) {
  std::string name = TemporaryObject::name_of(object.number);
  if (verity_works) {
    // The descriptor that wrote it is closed: a file open for writing cannot get fs-verity.
    UniqueFd file = CFS_TRY(open_at(temporaries->fd(), name, O_RDONLY));
    Result<> enabled = verity::enable(file.get());
    if (enabled) {
      if (CFS_TRY(verity::measure(file.get())) != digest) {
        return make_error(ErrorCode::kDigestMismatch,
                          in_quotes(digest) + " changed on the disk before it got its name");
      }
    } else if (enabled.error().code == ErrorCode::kUnsupported &&
               store->options.verity == VerityPolicy::kIfSupported) {
      verity_works = false;
    } else {
      return std::move(enabled).error();
    }
  }
  std::string path = digest.object_path();
  int failed = ::renameat(temporaries->fd(), name.c_str(), store->directory.get(), path.c_str());
  if (failed != 0 && errno == ENOENT) {
    CFS_TRY(
        make_directory(store->directory.get(), path.substr(0, kFanOutDigits), store->options, 0));
    failed = ::renameat(temporaries->fd(), name.c_str(), store->directory.get(), path.c_str());
  }
  if (failed != 0 && errno == EISDIR) {  // somebody has put a directory in the object's place
    CFS_TRY(remove_tree(store->directory.get(), path));
    failed = ::renameat(temporaries->fd(), name.c_str(), store->directory.get(), path.c_str());
  }
  if (failed != 0) return errno_error("cannot rename an object into place");
  return {};
}

/// Lets the next run trust, without hashing them, objects that are still the files written here.
void Batch::State::record_published(bool verity_works) {
  if (verity_works) return;  // measuring is as cheap
  uint64_t now_ns = file_clock_ns();
  for (const auto& [digest, object] : pending) {
    Result<struct stat> status =
        stat_at(store->directory.get(), digest.object_path(), AT_SYMLINK_NOFOLLOW);
    if (!status) continue;
    StatIdentity named = identity_of(*status);
    StatIdentity written = object.identity;
    written.ctime_ns = named.ctime_ns;  // moved by the rename
    if (named == written && !is_recent(named, now_ns)) store->cache_record(digest, *status);
  }
}

Batch::Batch(std::unique_ptr<State> state) : state_(std::move(state)) {}
Batch::Batch(Batch&&) noexcept = default;
Batch& Batch::operator=(Batch&&) noexcept = default;
Batch::~Batch() = default;

Result<Batch> ObjectStore::begin() {
  auto state = std::make_unique<Batch::State>();
  state->store = state_.get();
  CFS_TRY(state_->remove_stale());
  CFS_TRY(state_->check_directories());
  return Batch(std::move(state));
}

Result<FileDigest> Batch::put_stream(const ByteSource& source, const HoleSource& holes) {
  return state_->add_stream(source, holes, nullptr);
}

Result<FileDigest> Batch::put_bytes(Bytes content) {
  CFS_TRY(check_interrupted());
  FileDigest result{verity::digest_of(content), content.size()};
  CFS_TRY(state_->add_bytes(result.digest, content));
  return result;
}

Result<> Batch::put_expected(const verity::Digest& expected, const ByteSource& source) {
  if (CFS_TRY(state_->has(expected))) return {};
  CFS_TRY(state_->add_stream(source, {}, &expected));
  return {};
}

Result<> Batch::replace(const verity::Digest& expected, const ByteSource& source) {
  {
    std::lock_guard lock(state_->mutex);
    state_->distrusted.insert(expected);
  }
  return put_expected(expected, source);
}

Result<FileDigest> Batch::put_file(int fd, const struct stat& status) {
  auto size_bytes = static_cast<uint64_t>(status.st_size);
  if (size_bytes <= Workspace::kBufferBytes) {
    // Small enough to be kept: what is hashed and what is written are the same bytes in memory.
    Workspace workspace;
    std::span<std::byte> content = workspace.buffer().first(static_cast<size_t>(size_bytes));
    FileDigest result = CFS_TRY(read_and_digest(fd, status, workspace.hasher(), content));
    CFS_TRY(state_->add_bytes(result.digest, content));
    return result;
  }
  // Larger: hashed first, since most are there already; then copied, and the copy is hashed.
  FileDigest result = CFS_TRY(digest_file(fd, status));
  if (CFS_TRY(state_->has(result.digest))) return result;
  TemporaryObject object = CFS_TRY(state_->create_temporary());
  CFS_TRY_WITH("while writing " + in_quotes(result.digest),
               copy_content(fd, object.fd(), size_bytes));
  CFS_TRY(check_unchanged(fd, status));
  struct stat copied = CFS_TRY(fstat_fd(object.fd()));
  if (CFS_TRY(digest_file(object.fd(), copied)).digest != result.digest) return source_changed();
  CFS_TRY(state_->adopt(result.digest, std::move(object)));
  return result;
}

Result<> Batch::commit() {
  State& state = *state_;
  CFS_CHECK(!state.committed);
  state.committed = true;
  if (!state.pending.empty()) {
    bool verity_works = state.store->options.verity != VerityPolicy::kOffline;
    int store_fd = state.store->directory.get();
    CFS_TRY_WITH("while writing objects", sync_filesystem(store_fd));
    // Directory after directory: in a large store each has an index of its own to go through.
    std::vector<verity::Digest> sorted;
    sorted.reserve(state.pending.size());
    for (const auto& [digest, object] : state.pending) sorted.push_back(digest);
    std::sort(sorted.begin(), sorted.end());
    for (const verity::Digest& digest : sorted) {
      CFS_TRY(check_interrupted());
      CFS_TRY_WITH("while publishing " + in_quotes(digest),
                   state.publish(digest, state.pending.at(digest), verity_works));
    }
    CFS_TRY_WITH("while publishing objects", sync_filesystem(store_fd));
    state.record_published(verity_works);
    state.pending.clear();
  }
  state.store->save_cache();
  return {};
}

}  // namespace cfs::store

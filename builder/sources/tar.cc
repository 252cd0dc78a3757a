// SPDX-License-Identifier: Apache-2.0
//
// Who does what. Most of the time goes into making files in the store and into decompression, some
// into hashing; the archive itself is read from front to end. So one thread reads and decompresses,
// the caller's takes the archive apart and fills the tree, and a pool hashes and stores the files
// of up to 1 MiB. A file's node learns its digest later (ContentWriter::finish): before anything
// replaces a file, since a hard link to it would take over what is not there yet, and at the end.
// Larger files are stored by the caller's thread, piece by piece.
#include "builder/sources/tar.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "builder/passes/merge.h"
#include "builder/sources/decompress.h"
#include "builder/sources/posix_acl.h"
#include "builder/sources/tar_reader.h"
#include "lib/base/interrupt.h"
#include "lib/base/little_endian.h"
#include "lib/base/thread_pool.h"
#include "lib/tree/content_placement.h"

namespace cfs::builder {
namespace {

constexpr size_t kReadBytes = 256 << 10;
constexpr int kPollMilliseconds = 200;
constexpr size_t kReadAheadPieces = 8;
constexpr size_t kMaxQueuedFileBytes = 1 << 20;
constexpr std::string_view kAccessAcl = "system.posix_acl_access";
constexpr std::string_view kDefaultAcl = "system.posix_acl_default";

/// Reads a file descriptor; stays responsive to SIGINT and to stop() while a child is silent.
class FileInput {
 public:
  FileInput(int fd, const std::string& name, Progress& progress)
      : fd_(fd), name_(name), progress_(progress) {}

  /// A ByteSource; ends after stop(), too.
  Result<size_t> read(std::span<std::byte> buffer) {
    for (;;) {
      CFS_TRY(check_interrupted());
      if (stopped_) return size_t{0};
      struct pollfd ready = {fd_, POLLIN, 0};
      int count = ::poll(&ready, 1, kPollMilliseconds);
      if (count < 0 && errno != EINTR) return errno_error("cannot poll " + name_);
      progress_.add(0);
      if (count <= 0) continue;
      ssize_t size = ::read(fd_, buffer.data(), buffer.size());
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return errno_error("cannot read " + name_);
      progress_.add(static_cast<uint64_t>(size));
      return static_cast<size_t>(size);
    }
  }

  /// Thread-safe.
  void stop() { stopped_ = true; }

 private:
  std::atomic<bool> stopped_ = false;
  int fd_;
  const std::string& name_;
  Progress& progress_;
};

/// Runs a source in a thread of its own, some pieces ahead of whoever takes them.
class ReadAhead {
 public:
  /// `stop` makes a source that waits return.
  ReadAhead(ByteSource source, std::function<void()> stop)
      : source_(std::move(source)), stop_(std::move(stop)), thread_([this] { run(); }) {}
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;
  ~ReadAhead() {
    stop_();
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  /// A ByteSource of the same bytes.
  Result<size_t> read(std::span<std::byte> buffer) {
    if (rest_.empty() && !CFS_TRY(next_piece())) return size_t{0};
    size_t count = std::min(rest_.size(), buffer.size());
    std::memcpy(buffer.data(), rest_.data(), count);
    rest_ = rest_.subspan(count);
    return count;
  }

 private:
  struct Piece {
    std::vector<std::byte> memory;
    size_t size = 0;
  };

  /// False at the end.
  Result<bool> next_piece() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !pieces_.empty() || ended_; });
    if (pieces_.empty()) {
      if (error_) return *error_;
      return false;
    }
    std::swap(current_, pieces_.front());
    spares_.push_back(std::move(pieces_.front()));
    pieces_.pop_front();
    lock.unlock();
    changed_.notify_all();
    rest_ = Bytes(current_.memory).first(current_.size);
    return true;
  }

  void run() {
    for (;;) {
      Piece piece;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return pieces_.size() < kReadAheadPieces || stopping_; });
        if (!spares_.empty()) {
          piece = std::move(spares_.back());
          spares_.pop_back();
        }
      }
      piece.memory.resize(kReadBytes);
      Result<size_t> count = source_(piece.memory);
      {
        std::lock_guard lock(mutex_);
        ended_ = !count || *count == 0 || stopping_;
        if (!ended_) {
          piece.size = *count;
          pieces_.push_back(std::move(piece));
        } else if (!count) {
          error_ = std::move(count).error();
        }
      }
      changed_.notify_all();
      if (ended_) return;
    }
  }

  ByteSource source_;
  std::function<void()> stop_;
  Piece current_;
  Bytes rest_;  ///< of `current_`

  std::mutex mutex_;  ///< protects what follows
  std::condition_variable changed_;
  std::deque<Piece> pieces_;
  std::vector<Piece> spares_;  ///< memory for the next ones
  std::optional<Error> error_;
  bool ended_ = false;
  bool stopping_ = false;

  std::thread thread_;  // last: starts when all else is there
};

/// Stores the contents of files in other threads, several at a time: handing over costs as much as
/// storing a small file.
class ContentWriter {
 public:
  struct File {
    tree::Node* node = nullptr;
    std::string doing;  ///< for messages
    std::unique_ptr<std::byte[]> content;
    size_t size_bytes = 0;
  };

  explicit ContentWriter(tree::Tree& tree) : tree_(tree), pool_(available_cpus()) {}

  /// Stores the content of `file`; finish() tells its node. Errors: also those of earlier files.
  Result<> put(store::Batch& batch, File file) {
    bytes_ += file.size_bytes;
    files_.push_back(std::move(file));
    has_pending_ = true;
    if (bytes_ < kGroupBytes && files_.size() < kGroupFiles) return {};
    return hand_over(batch);
  }

  /// Returns true if there are nodes that do not know their content yet.
  [[nodiscard]] bool has_pending() const { return has_pending_; }

  /// Waits until everything is stored and tells the nodes.
  Result<> finish(store::Batch& batch) {
    if (!files_.empty()) CFS_TRY(hand_over(batch));
    CFS_TRY(pool_.finish());
    for (const auto& [node, stored] : stored_) {
      tree_.set_object(*node, stored.digest, stored.size_bytes);
    }
    stored_.clear();
    has_pending_ = false;
    return {};
  }

 private:
  static constexpr size_t kGroupBytes = 512 << 10;
  static constexpr size_t kGroupFiles = 64;
  static constexpr size_t kMaxQueuedBytes = 32 << 20;

  Result<> hand_over(store::Batch& batch) {
    size_t bytes = std::exchange(bytes_, 0);
    // A std::function must be copyable.
    auto files = std::make_shared<std::vector<File>>(std::exchange(files_, {}));
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return failed_ || queued_bytes_ < kMaxQueuedBytes; });
      queued_bytes_ += bytes;
      if (failed_) {
        lock.unlock();
        return pool_.finish();
      }
    }
    pool_.submit([this, &batch, files, bytes]() -> Result<> {
      Result<> done = store_all(batch, *files);
      {
        std::lock_guard lock(mutex_);
        queued_bytes_ -= bytes;
        failed_ = failed_ || !done;
      }
      changed_.notify_one();
      return done;
    });
    return {};
  }

  /// Runs in the pool.
  Result<> store_all(store::Batch& batch, std::vector<File>& files) {
    std::vector<std::pair<tree::Node*, store::FileDigest>> stored;
    for (File& file : files) {
      Bytes content(file.content.get(), file.size_bytes);
      stored.emplace_back(file.node, CFS_TRY_WITH(file.doing, batch.put_bytes(content)));
      file.content.reset();
    }
    std::lock_guard lock(mutex_);
    stored_.insert(stored_.end(), stored.begin(), stored.end());
    return {};
  }

  tree::Tree& tree_;
  std::vector<File> files_;  ///< not handed over yet
  size_t bytes_ = 0;         ///< of these
  bool has_pending_ = false;

  std::mutex mutex_;  ///< protects what follows
  std::condition_variable changed_;
  size_t queued_bytes_ = 0;
  bool failed_ = false;
  std::vector<std::pair<tree::Node*, store::FileDigest>> stored_;

  ThreadPool pool_;  // last: its threads use all else
};

uint32_t file_type_of(TarEntry::Type type) {
  switch (type) {
    case TarEntry::Type::kSymlink:
      return S_IFLNK;
    case TarEntry::Type::kCharacterDevice:
      return S_IFCHR;
    case TarEntry::Type::kBlockDevice:
      return S_IFBLK;
    case TarEntry::Type::kDirectory:
      return S_IFDIR;
    case TarEntry::Type::kFifo:
      return S_IFIFO;
    case TarEntry::Type::kRegular:
    case TarEntry::Type::kHardLink:
      break;
  }
  return S_IFREG;
}

/// Returns true if a component of `path` is the mark that an OCI layer deletes with. Spec: OCI
/// image-spec, layer.md, "Whiteouts".
bool is_whiteout(std::string_view path) {
  return path.starts_with(".wh.") || path.find("/.wh.") != std::string_view::npos;
}

/// Spec: xattr(7); the kernel takes no name that is a prefix alone.
bool is_linux_xattr(std::string_view key) {
  for (std::string_view prefix : {"user.", "trusted.", "security."}) {
    if (key.starts_with(prefix)) return key.size() > prefix.size();
  }
  return false;
}

/// What Linux shows of `value` as security.capability outside of containers; nothing if it does not
/// take it: the magic number has nothing but the version and the effective bit, and the size is
/// that of the version. What the third version says of the root of the first user namespace is
/// shown as the second, so a directory with the same files gives the same tree. Spec: Linux
/// include/uapi/linux/capability.h; security/commoncap.c, validheader and cap_inode_getsecurity.
std::optional<std::string> shown_capability(const std::string& value) {
  constexpr uint32_t kEffective = 1;
  constexpr uint32_t kRevision2 = 0x02000000;
  constexpr uint32_t kRevision3 = 0x03000000;
  constexpr size_t kSize2 = 20;
  constexpr size_t kSize3 = 24;
  le32 magic;
  if (value.size() != kSize2 && value.size() != kSize3) return std::nullopt;
  std::memcpy(&magic, value.data(), sizeof(magic));
  const uint32_t effective = magic & kEffective;
  const uint32_t revision = magic & ~kEffective;
  if (revision == kRevision2 && value.size() == kSize2) return value;
  if (revision != kRevision3 || value.size() != kSize3) return std::nullopt;
  le32 root_id;  // the last field
  std::memcpy(&root_id, value.data() + kSize2, sizeof(root_id));
  if (root_id != 0) return value;
  magic = kRevision2 | effective;
  std::string shown = value.substr(0, kSize2);
  std::memcpy(shown.data(), &magic, sizeof(magic));
  return shown;
}

class Import {
 public:
  Import(TarReader reader, const std::string& name, std::string into, unsigned strip,
         Rootfs& rootfs)
      : reader_(std::move(reader)),
        name_(name),
        into_(std::move(into)),
        strip_(strip),
        tree_(rootfs.tree),
        merger_(rootfs.tree),
        contents_(rootfs.contents),
        writer_(rootfs.tree) {}

  Result<> run() {
    bool has_entries = false;
    while (const TarEntry* entry = CFS_TRY(reader_.next())) {
      has_entries = true;
      CFS_TRY(add(*entry));
    }
    if (has_entries && !is_any_placed_) {
      return make_error(ErrorCode::kInvalidInput,
                        fmt::format("{}: 'strip: {}' leaves nothing of the archive", name_, strip_))
          .with_hint("no path in it has more components, '.' not counted");
    }
    return finish_contents();
  }

 private:
  [[nodiscard]] std::string reading() const { return "while reading " + name_; }

  [[nodiscard]] Error bad_entry(const TarEntry& entry, const std::string& what) const {
    return make_error(ErrorCode::kCorrupt,
                      fmt::format("{}: entry '{}': {}", name_, entry.path, what));
  }

  /// The path in the image, or nothing when `strip` leaves nothing.
  Result<std::optional<std::string>> place(const std::string& archive_path) const {
    std::string path = CFS_TRY_WITH(reading(), normal_path(archive_path));
    for (unsigned i = 0; i < strip_; ++i) {
      size_t slash = path.find('/');
      if (slash == std::string::npos) return std::optional<std::string>();
      path.erase(0, slash + 1);
    }
    if (into_.empty()) return std::optional(std::move(path));
    return std::optional(path.empty() ? into_ : into_ + "/" + path);
  }

  Result<> add(const TarEntry& entry) {
    std::optional<std::string> path = CFS_TRY(place(entry.path));
    if (!path) return {};
    is_any_placed_ = true;
    if (is_whiteout(entry.path)) {
      return bad_entry(entry, "is a whiteout of an OCI layer, which deletes from the layers below")
          .with_hint("a layer is not a tree: export the whole image as one archive");
    }
    tree::Node* old = CFS_TRY_WITH(reading(), merger_.find(*path));
    // As `tar --keep-directory-symlink`, which leaves the directory behind the symlink as it is.
    // The archive's root is `into` itself, wherever that leads.
    if (entry.type == TarEntry::Type::kDirectory && *path != into_ && old != nullptr &&
        old->inode().is_symlink() &&
        CFS_TRY_WITH(reading(), merger_.find_directory(*path)) != nullptr) {
      return {};
    }
    if (old != nullptr && !old->is_directory()) CFS_TRY(finish_contents());
    if (entry.type == TarEntry::Type::kHardLink) {
      std::optional<std::string> target = CFS_TRY(place(entry.link_target));
      if (!target) {
        return bad_entry(entry, "is a hard link to an entry that 'strip' leaves out");
      }
      CFS_TRY_WITH(reading(), merger_.put_link(*path, *target));
      return {};
    }
    tree::Attributes attributes{
        .mode = file_type_of(entry.type) | entry.permissions,
        .uid = entry.uid,
        .gid = entry.gid,
        .mtime = {entry.mtime_seconds, entry.mtime_nanoseconds},
    };
    // The mode of a symlink means nothing, and symlink(2) gives it this one.
    if (entry.type == TarEntry::Type::kSymlink) attributes.mode = S_IFLNK | 0777;
    tree::Node* node = CFS_TRY_WITH(reading(), merger_.put(*path, attributes));
    if (node->is_symlink()) {
      CFS_TRY_WITH(reading(), tree_.set_symlink_target(*node, entry.link_target));
    } else if (node->is_device()) {
      node->rdev = static_cast<uint32_t>(::makedev(entry.device_major, entry.device_minor));
    } else if (node->is_regular()) {
      CFS_TRY(add_content(entry, *path, *node));
    }
    CFS_TRY(add_xattrs(entry, *path, *node));
    return add_acls(entry, *node);
  }

  /// Afterwards every node knows its content.
  Result<> finish_contents() {
    if (!writer_.has_pending()) return {};
    store::Batch* batch = CFS_TRY_WITH(reading(), contents_.batch());
    return writer_.finish(*batch);
  }

  Result<> add_content(const TarEntry& entry, const std::string& path, tree::Node& node) {
    std::string doing = "while storing '/" + path + "' of " + name_;
    if (tree::placement_of(entry.size_bytes) == tree::Placement::kObject &&
        entry.size_bytes <= kMaxQueuedFileBytes) {
      auto size = static_cast<size_t>(entry.size_bytes);
      ContentWriter::File file{&node, std::move(doing),
                               std::make_unique_for_overwrite<std::byte[]>(size), size};
      for (size_t used = 0; used < size;) {
        used += CFS_TRY(reader_.read({file.content.get() + used, size - used}));
      }
      store::Batch* batch = CFS_TRY_WITH(reading(), contents_.batch());
      return writer_.put(*batch, std::move(file));
    }
    auto read = [&](std::span<std::byte> buffer) { return reader_.read(buffer); };
    auto skip_hole = [&] { return reader_.skip_hole(); };
    CFS_TRY_WITH(doing, contents_.put(tree_, node, read, skip_hole));
    return {};
  }

  Result<> add_xattrs(const TarEntry& entry, const std::string& path, tree::Node& node) {
    for (const auto& [key, value] : entry.xattrs) {
      if (key == kAccessAcl || key == kDefaultAcl || !is_kept_xattr(key)) continue;
      if (!is_linux_xattr(key)) {
        return bad_entry(entry, fmt::format("has the extended attribute '{}', which Linux file "
                                            "systems do not take",
                                            key))
            .with_hint("write the archive without it, with --xattrs-exclude or --no-xattrs");
      }
      if (key.starts_with("user.") && !node.is_regular() && !node.is_directory()) {
        return bad_entry(entry, fmt::format("has the extended attribute '{}', which only files and "
                                            "directories take",
                                            key));
      }
      std::optional<std::string> shown = value;
      if (key == "security.capability") shown = shown_capability(value);
      if (!shown) {
        return bad_entry(entry,
                         "has the extended attribute 'security.capability' with a value "
                         "that Linux does not take");
      }
      CFS_TRY_WITH("while reading '/" + path + "' of " + name_, tree_.set_xattr(node, key, *shown));
    }
    return {};
  }

  Result<> add_acls(const TarEntry& entry, tree::Node& node) {
    FoundAcl found = CFS_TRY(acl_of(entry, kAccessAcl, entry.access_acl));
    std::vector<AclEntry> access = std::move(found.entries);
    std::vector<AclEntry> initial = CFS_TRY(acl_of(entry, kDefaultAcl, entry.default_acl)).entries;
    if (!access.empty() && node.is_symlink()) {
      return bad_entry(entry, "is a symlink with an access control list");
    }
    if (!initial.empty() && !node.is_directory()) {
      return bad_entry(entry, "has a default access control list and is not a directory");
    }
    if (!access.empty()) {
      // GNU tar makes a file with the owner's part of its mode, sets the xattrs, then the mode if
      // that has more, then the list of a text. Sparse files, and what is no file, get their mode
      // first.
      uint32_t& mode = node.attributes.mode;
      bool has_more = (mode & 07077U) != 0;
      bool mode_is_last = node.is_regular() && !entry.is_sparse && has_more;
      if (mode_is_last && !found.is_text && (mode & 0777U) != permissions_of(access)) {
        if (!found.name_without_number.empty()) {
          return bad_entry(entry, fmt::format("has a mode that contradicts its access control "
                                              "list, and '{}' in it without a number",
                                              found.name_without_number))
              .with_hint("write the archive without --mode");
        }
        apply_permissions(mode, access);
      }
      mode = (mode & ~0777U) | permissions_of(access);
      // A list without named users, groups and mask says the same as the mode.
      if (access.size() > 3) {
        CFS_TRY_WITH(reading(), tree_.set_xattr(node, kAccessAcl, encode_posix_acl(access)));
      }
    }
    if (!initial.empty()) {
      CFS_TRY_WITH(reading(), tree_.set_xattr(node, kDefaultAcl, encode_posix_acl(initial)));
    }
    return {};
  }

  /// A list of an entry, which may be there as an xattr, as a text, or as both.
  struct FoundAcl {
    std::vector<AclEntry> entries;
    bool is_text = false;  ///< there is a text, and it says the same wherever it is read
    /// A user or group of the text beside an xattr; only the host could say who that is.
    std::string name_without_number = {};
  };
  Result<FoundAcl> acl_of(const TarEntry& entry, std::string_view key,
                          const std::optional<std::string>& text) const {
    std::optional<std::vector<AclEntry>> binary;
    for (const auto& [name, value] : entry.xattrs) {
      if (name != key) continue;
      Result<std::vector<AclEntry>> decoded = decode_posix_acl(value);
      if (!decoded) return bad_entry(entry, decoded.error().message);
      binary = *std::move(decoded);
    }
    if (!text) return FoundAcl{std::move(binary).value_or(std::vector<AclEntry>())};
    Result<AclText> parsed = parse_posix_acl(*text);
    if (!parsed) return bad_entry(entry, parsed.error().message);
    if (!parsed->name_without_number.empty()) {
      if (binary) return FoundAcl{*std::move(binary), false, parsed->name_without_number};
      return bad_entry(entry, fmt::format("has an access rule for '{}' without a number",
                                          parsed->name_without_number))
          .with_hint(
              "write the archive with --xattrs --xattrs-include='*', which keeps the numbers");
    }
    if (binary && *binary != parsed->entries) {
      return bad_entry(entry, "has two access control lists that contradict each other");
    }
    return FoundAcl{std::move(parsed->entries), true};
  }

  TarReader reader_;
  const std::string& name_;
  std::string into_;
  unsigned strip_;
  tree::Tree& tree_;
  Merger merger_;
  Contents& contents_;
  ContentWriter writer_;
  bool is_any_placed_ = false;  ///< `strip` left something of an entry
};

}  // namespace

Result<> import_tar_stream(int fd, const std::string& name, const TarPlacement& placement,
                           Rootfs& rootfs, Progress& progress) {
  FileInput input(fd, name, progress);
  Decompressor plain([&](std::span<std::byte> buffer) { return input.read(buffer); }, name);
  ReadAhead ahead([&](std::span<std::byte> buffer) { return plain.read(buffer); },
                  [&] { input.stop(); });
  Import import(TarReader([&](std::span<std::byte> buffer) { return ahead.read(buffer); }, name),
                name, CFS_TRY(normal_path(placement.into)), placement.strip, rootfs);
  return import.run();
}

}  // namespace cfs::builder

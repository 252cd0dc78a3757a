// SPDX-License-Identifier: Apache-2.0
//
// One thread walks the directories; the others take the entries it finds, in chunks, and read them:
// one open a file, one fstat before and one after, one listxattr, as few reads as the size asks
// for. Results go straight into the tree under a mutex: the tree sorts its entries, so the order of
// arrival does not matter. Hard links are the exception: which name holds the file decides where
// the image has its inode. They are collected and added last.
#include "lib/scan/scan.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/xattr.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <semaphore>

#include "lib/base/interrupt.h"
#include "lib/base/io.h"
#include "lib/tree/content_placement.h"

namespace cfs::scan {
namespace {

constexpr size_t kChunkEntries = 32;
constexpr size_t kMaxOpenDirectories = 128;
// Of a file being read: it, its object under a temporary name, the object that is there already.
constexpr size_t kDescriptorsPerThread = 3;
// The root, a piece of a long path, the batch's two directories, and a few for the caller.
constexpr size_t kReservedDescriptors = 8;
constexpr size_t kDirectoryBufferBytes = 64 << 10;
constexpr size_t kXattrBytes = 64 << 10;  // the kernel's limit for a list and for a value
constexpr size_t kFirstXattrBytes = 512;
constexpr size_t kMaxPathPieceBytes = 3000;

/// How the descriptors this process may still open are shared out.
struct Descriptors {
  unsigned threads;
  ptrdiff_t directories;
};

Descriptors share_descriptors(unsigned threads) {
  rlimit limit = {};
  Result<std::vector<std::string>> open = list_directory(AT_FDCWD, "/proc/self/fd");
  if (!open || ::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return {.threads = threads, .directories = kMaxOpenDirectories};
  }
  size_t used = open->size() + kReservedDescriptors;
  size_t free = limit.rlim_cur > used ? static_cast<size_t>(limit.rlim_cur) - used : 0;
  // Half for either where there are few; but directories have no use for more than the maximum.
  size_t for_threads = std::max(free / 2, free - std::min(free, kMaxOpenDirectories));
  size_t readers = std::clamp<size_t>(for_threads / kDescriptorsPerThread, 1, threads);
  size_t rest = free - std::min(free, readers * kDescriptorsPerThread);
  return {.threads = static_cast<unsigned>(readers),
          .directories = static_cast<ptrdiff_t>(std::clamp<size_t>(rest, 1, kMaxOpenDirectories))};
}

using OpenDirectories = std::counting_semaphore<kMaxOpenDirectories>;

/// A directory that is being read; open as long as one of its entries needs it.
struct Directory {
  Directory(UniqueFd opened, tree::Node* place, std::string name, OpenDirectories& counter)
      : fd(std::move(opened)), node(place), path(std::move(name)), open_directories(counter) {}
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    fd.reset();
    open_directories.release();
  }

  UniqueFd fd;
  tree::Node* node;
  std::string path;  ///< below the root: "" or "usr/bin"
  OpenDirectories& open_directories;
};

/// An entry that is not a directory.
struct Entry {
  std::shared_ptr<Directory> directory;
  std::string name;
  unsigned char type = DT_UNKNOWN;
};

/// What is read of an entry before it is put into the tree.
struct Found {
  struct stat status = {};
  std::vector<std::pair<std::string, std::string>> xattrs;
  std::string text;  ///< symlink target or inline content
  std::optional<verity::Digest> digest;
};

/// A file with several names.
struct LinkedFile {
  Found found;
  std::vector<std::pair<tree::Node*, std::string>> names;  ///< directory and name
};

Error changed_directory() {
  return make_error(ErrorCode::kSourceChanged, "the directory changed while it was read")
      .with_hint("stop what writes to the source, or build from a snapshot of it");
}

class Scanner {
 public:
  Scanner(const ScanOptions& options, store::Batch* batch)
      : options_(options), batch_(batch), descriptors_(share_descriptors(options.threads)) {}

  Result<tree::Tree> run(int dir_fd, const std::string& path);

 private:
  struct PendingDirectory {
    tree::Node* parent;  ///< null for the root
    std::string path;    ///< below the root
  };

  // The walking thread.
  Result<> walk(ThreadPool& pool);
  Result<> read_directory(PendingDirectory pending, ThreadPool& pool);
  Result<UniqueFd> open_directory(const std::string& path);
  Result<unsigned char> type_of(const Directory& directory, const char* name);
  void submit_chunk(ThreadPool& pool);
  Result<> add_links();

  // The reading threads.
  Result<> read_entry(const Entry& entry);
  Result<> read_regular(const Entry& entry);
  /// What need not or cannot be opened: all but regular files with a content.
  Result<> read_by_name(const Entry& entry);
  Result<> read_content(int fd, Found& found);
  Result<UniqueFd> open_file(const Entry& entry);
  /// False when another name of the same file has come first.
  Result<bool> is_first_name(const Entry& entry, const Found& found);
  Result<> add(const Entry& entry, Found found);

  // `list` and `get` are flistxattr and fgetxattr or their kind, bound to the file.
  template <typename List, typename Get>
  Result<> read_xattrs(Found& found, List list, Get get);

  // Under mutex_.
  Result<tree::Node*> add_to_tree(tree::Node& parent, std::string_view name, const Found& found);
  Result<> set_common(tree::Node& node, const Found& found);

  [[nodiscard]] std::string shown_path(const std::string& below_root) const {
    if (below_root.empty()) return "'" + (source_.empty() ? "/" : source_) + "'";
    return "'" + source_ + "/" + below_root + "'";
  }
  [[nodiscard]] static std::string path_of(const Directory& directory, std::string_view name) {
    std::string path = directory.path;
    if (!path.empty()) path += '/';
    path += name;
    return path;
  }
  [[nodiscard]] tree::Attributes attributes_of(const struct stat& status) const {
    tree::Attributes attributes;
    attributes.mode = status.st_mode;
    attributes.uid = status.st_uid;
    attributes.gid = status.st_gid;
    if (options_.times == Times::kKeep) {
      attributes.mtime = {status.st_mtim.tv_sec, static_cast<uint32_t>(status.st_mtim.tv_nsec)};
    }
    return attributes;
  }

  const ScanOptions& options_;
  store::Batch* const batch_;
  std::string source_;
  UniqueFd root_;
  const Descriptors descriptors_;
  OpenDirectories open_directories_{descriptors_.directories};
  std::vector<PendingDirectory> pending_;
  std::vector<Entry> chunk_;
  std::vector<char> directory_buffer_ = std::vector<char>(kDirectoryBufferBytes);
  std::atomic<bool> failed_{false};  ///< a reading thread has an error for pool.finish()
  /// Cleared when the kernel refuses it: only owners may leave atime alone.
  std::atomic<int> no_atime_{O_NOATIME};

  std::mutex mutex_;  ///< protects what follows while the pool runs
  tree::Tree tree_;
  std::map<std::pair<dev_t, ino_t>, LinkedFile> linked_files_;
};

Result<tree::Tree> Scanner::run(int dir_fd, const std::string& path) {
  source_ = path;
  while (source_.size() > 1 && source_.back() == '/') source_.pop_back();
  root_ = CFS_TRY(open_at(dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (source_ == "/") source_.clear();
  {
    ThreadPool pool(descriptors_.threads);
    CFS_TRY(walk(pool));
    CFS_TRY(pool.finish());
  }
  CFS_TRY(add_links());
  return std::move(tree_);
}

Result<> Scanner::walk(ThreadPool& pool) {
  pending_.push_back({nullptr, ""});
  while (!pending_.empty() && !failed_) {
    CFS_TRY(check_interrupted());
    PendingDirectory next = std::move(pending_.back());
    pending_.pop_back();
    std::string shown = shown_path(next.path);
    CFS_TRY_WITH("while reading " + shown, read_directory(std::move(next), pool));
  }
  submit_chunk(pool);
  return {};
}

/// Opens a directory from the root on, without following symlinks. A path longer than the kernel
/// takes is walked in pieces.
Result<UniqueFd> Scanner::open_directory(const std::string& path) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
  if (path.empty()) return open_at(root_.get(), ".", kFlags);
  UniqueFd fd;
  size_t start = 0;
  while (path.size() - start > kMaxPathPieceBytes) {
    size_t slash = path.rfind('/', start + kMaxPathPieceBytes);
    fd = CFS_TRY(open_beneath(fd.valid() ? fd.get() : root_.get(),
                              path.substr(start, slash - start), O_PATH | O_DIRECTORY));
    start = slash + 1;
  }
  return open_beneath(fd.valid() ? fd.get() : root_.get(), path.substr(start), kFlags);
}

Result<unsigned char> Scanner::type_of(const Directory& directory, const char* name) {
  struct stat status = CFS_TRY(stat_at(directory.fd.get(), name, AT_SYMLINK_NOFOLLOW));
  return static_cast<unsigned char>(IFTODT(status.st_mode));
}

Result<> Scanner::read_directory(PendingDirectory pending, ThreadPool& pool) {
  if (!open_directories_.try_acquire()) {
    submit_chunk(pool);  // it may hold the last ones
    open_directories_.acquire();
  }
  auto directory =
      std::make_shared<Directory>(UniqueFd(), nullptr, std::move(pending.path), open_directories_);
  directory->fd = CFS_TRY(open_directory(directory->path));
  int fd = directory->fd.get();
  Found found;
  found.status = CFS_TRY(fstat_fd(fd));
  CFS_TRY(read_xattrs(
      found, [&](char* list, size_t size) { return ::flistxattr(fd, list, size); },
      [&](const char* key, char* value, size_t size) {
        return ::fgetxattr(fd, key, value, size);
      }));
  {
    std::lock_guard lock(mutex_);
    if (pending.parent == nullptr) {
      directory->node = &tree_.root();
      directory->node->attributes = attributes_of(found.status);
      CFS_TRY(set_common(*directory->node, found));
    } else {
      std::string_view name = directory->path;
      name.remove_prefix(name.rfind('/') + 1);
      directory->node = CFS_TRY(add_to_tree(*pending.parent, name, found));
    }
  }

  for (;;) {
    ssize_t size = ::getdents64(fd, directory_buffer_.data(), directory_buffer_.size());
    if (size < 0) return errno_error("cannot list the directory");
    if (size == 0) break;
    for (ssize_t offset = 0; offset < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(directory_buffer_.data() + offset);
      offset += entry->d_reclen;
      std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      unsigned char type = entry->d_type;
      if (type == DT_UNKNOWN) type = CFS_TRY(type_of(*directory, entry->d_name));
      if (type == DT_DIR) {
        pending_.push_back({directory->node, path_of(*directory, name)});
        continue;
      }
      if ((type == DT_CHR || type == DT_BLK) && options_.devices == Devices::kSkip) continue;
      chunk_.push_back({directory, std::string(name), type});
      if (chunk_.size() == kChunkEntries) submit_chunk(pool);
    }
  }
  Result<> unchanged = store::check_unchanged(fd, found.status);
  if (!unchanged && unchanged.error().code == ErrorCode::kSourceChanged) return changed_directory();
  return unchanged;
}

void Scanner::submit_chunk(ThreadPool& pool) {
  if (chunk_.empty()) return;
  auto chunk = std::make_shared<std::vector<Entry>>(std::exchange(chunk_, {}));
  chunk_.reserve(kChunkEntries);
  pool.submit([this, chunk = std::move(chunk)]() -> Result<> {
    for (const Entry& entry : *chunk) {
      CFS_TRY(check_interrupted());
      Result<> read = read_entry(entry);
      if (!read) {
        failed_ = true;
        return Error(std::move(read).error())
            .with("while reading " + shown_path(path_of(*entry.directory, entry.name)));
      }
    }
    return {};
  });
}

Result<> Scanner::read_entry(const Entry& entry) {
  return entry.type == DT_REG ? read_regular(entry) : read_by_name(entry);
}

Result<UniqueFd> Scanner::open_file(const Entry& entry) {
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  int no_atime = no_atime_;
  Result<UniqueFd> fd = open_at(entry.directory->fd.get(), entry.name, kFlags | no_atime);
  if (fd || fd.error().sys_errno != EPERM || no_atime == 0) return fd;
  no_atime_ = 0;
  return open_at(entry.directory->fd.get(), entry.name, kFlags);
}

Result<> Scanner::read_regular(const Entry& entry) {
  Result<UniqueFd> file = open_file(entry);
  if (!file && file.error().code == ErrorCode::kPermission) {
    // An empty file has nothing to read.
    struct stat status =
        CFS_TRY(stat_at(entry.directory->fd.get(), entry.name, AT_SYMLINK_NOFOLLOW));
    if (S_ISREG(status.st_mode) && status.st_size == 0) return read_by_name(entry);
  }
  UniqueFd opened = CFS_TRY(std::move(file));
  int fd = opened.get();
  Found found;
  found.status = CFS_TRY(fstat_fd(fd));
  if (!S_ISREG(found.status.st_mode)) return store::source_changed();
  if (!CFS_TRY(is_first_name(entry, found))) return {};
  CFS_TRY(read_xattrs(
      found, [&](char* list, size_t size) { return ::flistxattr(fd, list, size); },
      [&](const char* key, char* value, size_t size) {
        return ::fgetxattr(fd, key, value, size);
      }));
  CFS_TRY(read_content(fd, found));
  if (options_.progress != nullptr) {
    options_.progress->add(static_cast<uint64_t>(found.status.st_size));
  }
  return add(entry, std::move(found));
}

Result<> Scanner::read_content(int fd, Found& found) {
  auto size_bytes = static_cast<uint64_t>(found.status.st_size);
  if (tree::placement_of(size_bytes) == tree::Placement::kObject) {
    found.digest = CFS_TRY(batch_ != nullptr ? batch_->put_file(fd, found.status)
                                             : store::digest_file(fd, found.status))
                       .digest;
    return {};
  }
  found.text.resize(size_bytes);
  size_t count = CFS_TRY(pread_full(fd, std::as_writable_bytes(std::span(found.text)), 0));
  if (count != size_bytes) return store::source_changed();
  return store::check_unchanged(fd, found.status);
}

Result<> Scanner::read_by_name(const Entry& entry) {
  int directory = entry.directory->fd.get();
  const char* name = entry.name.c_str();
  Found found;
  found.status = CFS_TRY(stat_at(directory, entry.name, AT_SYMLINK_NOFOLLOW));
  if (IFTODT(found.status.st_mode) != entry.type) return store::source_changed();
  if (S_ISREG(found.status.st_mode) && found.status.st_size != 0) return store::source_changed();
  if (!CFS_TRY(is_first_name(entry, found))) return {};
  if (S_ISLNK(found.status.st_mode)) {
    char target[4097];
    ssize_t size = ::readlinkat(directory, name, target, sizeof(target));
    if (size < 0) return errno_error("cannot read the symlink");
    found.text.assign(target, static_cast<size_t>(size));
  }
  // There is no llistxattrat; the directory's own name in /proc has no length limit.
  std::string path = "/proc/self/fd/" + std::to_string(directory) + "/" + entry.name;
  CFS_TRY(read_xattrs(
      found, [&](char* list, size_t size) { return ::llistxattr(path.c_str(), list, size); },
      [&](const char* key, char* value, size_t size) {
        return ::lgetxattr(path.c_str(), key, value, size);
      }));
  return add(entry, std::move(found));
}

template <typename List, typename Get>
Result<> Scanner::read_xattrs(Found& found, List list, Get get) {
  if (options_.xattrs == Xattrs::kSkip) return {};
  // The kernel allocates, and may clear, as much as it is offered: a little first.
  char buffer[kXattrBytes];
  auto filled = [&buffer](auto call) {
    ssize_t size = call(buffer, kFirstXattrBytes);
    return size < 0 && errno == ERANGE ? call(buffer, sizeof(buffer)) : size;
  };
  ssize_t keys_size = filled(list);
  if (keys_size == 0 || (keys_size < 0 && errno == EOPNOTSUPP)) return {};
  if (keys_size < 0) return errno_error("cannot list the extended attributes");
  std::string keys(buffer, static_cast<size_t>(keys_size));
  for (size_t start = 0; start < keys.size(); start += std::strlen(keys.c_str() + start) + 1) {
    const char* key = keys.c_str() + start;
    if (options_.keep_xattr && !options_.keep_xattr(key)) continue;
    ssize_t size = filled([&](char* value, size_t room) { return get(key, value, room); });
    if (size < 0) {
      if (errno == ENODATA) return store::source_changed();
      return errno_error("cannot read the extended attribute '" + std::string(key) + "'");
    }
    found.xattrs.emplace_back(key, std::string(buffer, static_cast<size_t>(size)));
  }
  return {};
}

Result<bool> Scanner::is_first_name(const Entry& entry, const Found& found) {
  if (options_.hard_links == HardLinks::kSeparate || found.status.st_nlink < 2) return true;
  std::lock_guard lock(mutex_);
  auto [place, is_new] =
      linked_files_.try_emplace({found.status.st_dev, found.status.st_ino}, LinkedFile{});
  LinkedFile& file = place->second;
  if (is_new) file.found.status = found.status;
  file.names.emplace_back(entry.directory->node, entry.name);
  const struct stat& first = file.found.status;
  if (first.st_size != found.status.st_size ||
      first.st_ctim.tv_sec != found.status.st_ctim.tv_sec ||
      first.st_ctim.tv_nsec != found.status.st_ctim.tv_nsec) {
    return store::source_changed();
  }
  return is_new;
}

Result<> Scanner::add(const Entry& entry, Found found) {
  std::lock_guard lock(mutex_);
  if (options_.hard_links == HardLinks::kKeep && found.status.st_nlink > 1) {
    linked_files_.at({found.status.st_dev, found.status.st_ino}).found = std::move(found);
    return {};
  }
  CFS_TRY(add_to_tree(*entry.directory->node, entry.name, found));
  return {};
}

Result<tree::Node*> Scanner::add_to_tree(tree::Node& parent, std::string_view name,
                                         const Found& found) {
  tree::Node* node = CFS_TRY(tree_.add(parent, name, attributes_of(found.status)));
  CFS_TRY(set_common(*node, found));
  auto size_bytes = static_cast<uint64_t>(found.status.st_size);
  if (found.digest) {
    tree_.set_object(*node, *found.digest, size_bytes);
  } else if (node->is_regular()) {
    CFS_TRY(tree_.set_content(*node, found.text));
  } else {
    node->size_bytes = size_bytes;
    if (node->is_symlink()) CFS_TRY(tree_.set_symlink_target(*node, found.text));
    if (node->is_device()) node->rdev = static_cast<uint32_t>(found.status.st_rdev);
  }
  return node;
}

Result<> Scanner::set_common(tree::Node& node, const Found& found) {
  for (const auto& [key, value] : found.xattrs) CFS_TRY(tree_.set_xattr(node, key, value));
  return {};
}

Result<> Scanner::add_links() {
  // Depth-first order with sorted names is the order of paths whose '/' sorts before everything.
  auto sort_key = [](const std::pair<tree::Node*, std::string>& name) {
    std::string key = name.first->parent() != nullptr ? name.first->path() : "";
    key += '/';
    key += name.second;
    std::replace(key.begin(), key.end(), '/', '\0');
    return key;
  };
  for (auto& [inode, file] : linked_files_) {
    std::sort(file.names.begin(), file.names.end(),
              [&](const auto& a, const auto& b) { return sort_key(a) < sort_key(b); });
    tree::Node* first =
        CFS_TRY(add_to_tree(*file.names[0].first, file.names[0].second, file.found));
    for (size_t i = 1; i < file.names.size(); ++i) {
      CFS_TRY(tree_.add_link(*file.names[i].first, file.names[i].second, *first));
    }
    first->attributes.nlink = static_cast<uint32_t>(file.names.size());
  }
  return {};
}

}  // namespace

Result<tree::Tree> scan_directory(int dir_fd, const std::string& path, const ScanOptions& options,
                                  store::Batch* batch) {
  return Scanner(options, batch).run(dir_fd, path);
}

}  // namespace cfs::scan

// SPDX-License-Identifier: Apache-2.0
#include "builder/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <locale.h>
#include <poll.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "builder/gzip.h"
#include "builder/passes/merge.h"
#include "builder/posix_acl.h"
#include "lib/base/interrupt.h"

namespace cfs::builder {
namespace {

constexpr size_t kReadBytes = 256 << 10;
constexpr int kPollMilliseconds = 200;
constexpr uint64_t kTarBlockBytes = 512;

/// libarchive converts the UTF-8 of pax headers to the locale's character set; names are bytes to
/// us, so the thread runs in UTF-8 while it reads. The locale is made once and kept: several
/// archives may be read at once.
class Utf8Locale {
 public:
  Utf8Locale() : previous_(utf8() != nullptr ? ::uselocale(utf8()) : nullptr) {}
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;
  ~Utf8Locale() {
    if (utf8() != nullptr) ::uselocale(previous_);
  }
  [[nodiscard]] static bool valid() { return utf8() != nullptr; }

 private:
  static locale_t utf8() {
    static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return locale;
  }
  locale_t previous_;
};

/// Feeds a file descriptor to libarchive; stays responsive to SIGINT while a child is silent. gzip
/// arrives there decompressed.
class Input {
 public:
  Input(int fd, const std::string& name, Progress& progress)
      : fd_(fd), name_(name), progress_(progress) {}
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  static la_ssize_t read(struct archive* reader, void* self, const void** out) {
    Input& input = *static_cast<Input*>(self);
    Result<Bytes> piece = input.next_piece();
    if (!piece) {
      input.error_ = std::move(piece).error();
      archive_set_error(reader, EIO, "input failed");
      return ARCHIVE_FATAL;
    }
    *out = piece->data();
    return static_cast<la_ssize_t>(piece->size());
  }

  /// Why read() failed, if it did.
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  /// The number of bytes read into `buffer`; 0 at the end.
  Result<size_t> read_some(std::span<std::byte> buffer) {
    for (;;) {
      CFS_TRY(check_interrupted());
      struct pollfd ready = {fd_, POLLIN, 0};
      int count = ::poll(&ready, 1, kPollMilliseconds);
      if (count < 0 && errno != EINTR) return errno_error("cannot poll");
      progress_.add(0);
      if (count <= 0) continue;
      ssize_t size = ::read(fd_, buffer.data(), buffer.size());
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return errno_error("cannot read");
      progress_.add(static_cast<uint64_t>(size));
      return static_cast<size_t>(size);
    }
  }

  Result<Bytes> next_piece() {
    if (!began_) CFS_TRY(begin());
    if (!gunzip_) return next_raw_piece();
    size_t size = CFS_TRY(gunzip_->read(plain_));
    return Bytes(plain_).first(size);
  }

  /// As it is in the file; empty at the end.
  Result<Bytes> next_raw_piece() {
    size_t size = std::exchange(head_size_, 0);
    if (size == 0) size = CFS_TRY(read_some(raw_));
    return Bytes(raw_).first(size);
  }

  /// Looks at the first bytes.
  Result<> begin() {
    began_ = true;
    while (head_size_ < kMagicBytes) {
      size_t count = CFS_TRY(read_some(std::span(raw_).subspan(head_size_)));
      if (count == 0) break;
      head_size_ += count;
    }
    if (!is_gzip(Bytes(raw_).first(head_size_))) return {};
    gunzip_.emplace([this] { return next_raw_piece(); }, name_);
    plain_.resize(kReadBytes);
    return {};
  }

  static constexpr size_t kMagicBytes = 2;
  int fd_;
  const std::string& name_;
  Progress& progress_;
  std::vector<std::byte> raw_ = std::vector<std::byte>(kReadBytes);
  std::vector<std::byte> plain_;
  size_t head_size_ = 0;  ///< bytes in raw_ that begin() left
  bool began_ = false;
  std::optional<Gunzip> gunzip_;
  std::optional<Error> error_;
};

struct ReaderCloser {
  void operator()(struct archive* reader) const { archive_read_free(reader); }
};
using Reader = std::unique_ptr<struct archive, ReaderCloser>;

/// The error behind libarchive's last failure.
Error failure_of(struct archive* reader, const std::string& name) {
  const char* text = archive_error_string(reader);
  return make_error(ErrorCode::kCorrupt,
                    fmt::format("{}: {}", name, text != nullptr ? text : "unknown failure"));
}

/// Named one by one: archive_read_support_filter_all would also start external programs. gzip is
/// ours (gzip.h).
bool support_compression(struct archive* reader) {
  for (auto* support : {archive_read_support_filter_bzip2, archive_read_support_filter_xz,
                        archive_read_support_filter_lzma, archive_read_support_filter_lzip,
                        archive_read_support_filter_zstd, archive_read_support_filter_lz4,
                        archive_read_support_filter_compress}) {
    if (support(reader) != ARCHIVE_OK) return false;
  }
  return true;
}

/// The decompressed bytes of an input, as input of a second libarchive reader. Two readers, because
/// one that knows about tar does not tell what came after the last entry, and leaves the end of the
/// compressed stream unread.
class PlainStream {
 public:
  explicit PlainStream(Input& input) : input_(input), reader_(archive_read_new()) {}

  Result<> open(const std::string& name) {
    struct archive* reader = reader_.get();
    struct archive_entry* entry = nullptr;
    if (support_compression(reader) && archive_read_support_format_raw(reader) == ARCHIVE_OK &&
        archive_read_open(reader, &input_, nullptr, Input::read, nullptr) == ARCHIVE_OK &&
        archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
      return {};
    }
    if (input_.error()) return Error(*input_.error()).with("while reading " + name);
    return failure_of(reader, name);
  }

  static la_ssize_t read(struct archive* user, void* self, const void** out) {
    PlainStream& stream = *static_cast<PlainStream*>(self);
    struct archive* reader = stream.reader_.get();
    size_t size = 0;
    la_int64_t offset = 0;
    int status = stream.ended_ ? ARCHIVE_EOF : archive_read_data_block(reader, out, &size, &offset);
    if (status == ARCHIVE_EOF) {
      stream.ended_ = true;
      return 0;
    }
    if (status != ARCHIVE_OK) {
      const char* text = archive_error_string(reader);
      archive_set_error(user, EINVAL, "%s", text != nullptr ? text : "unknown failure");
      return ARCHIVE_FATAL;
    }
    Bytes block(static_cast<const std::byte*>(*out), size);
    auto last =
        std::find_if(block.rbegin(), block.rend(), [](std::byte b) { return b != std::byte{}; });
    if (last != block.rend()) {
      stream.content_end_ = stream.size_bytes_ + static_cast<uint64_t>(block.rend() - last);
    }
    stream.size_bytes_ += size;
    return static_cast<la_ssize_t>(size);
  }

  /// Bytes read so far.
  [[nodiscard]] uint64_t size_bytes() const { return size_bytes_; }
  /// The offset behind the last of them that is not zero.
  [[nodiscard]] uint64_t content_end() const { return content_end_; }

 private:
  Input& input_;
  Reader reader_;
  uint64_t size_bytes_ = 0;
  uint64_t content_end_ = 0;
  bool ended_ = false;
};

class Import {
 public:
  Import(const std::string& name, std::string into, unsigned strip, tree::Tree& tree,
         Contents& contents)
      : name_(name),
        into_(std::move(into)),
        strip_(strip),
        tree_(tree),
        merger_(tree),
        contents_(contents) {}

  Result<> run(Input& input) {
    PlainStream plain(input);
    CFS_TRY(plain.open(name_));
    reader_.reset(archive_read_new());
    struct archive* reader = reader_.get();
    if (archive_read_support_format_tar(reader) != ARCHIVE_OK ||
        archive_read_open(reader, &plain, nullptr, PlainStream::read, nullptr) != ARCHIVE_OK) {
      return failure(input);
    }
    for (;;) {
      CFS_TRY(check_interrupted());
      struct archive_entry* entry = nullptr;
      int status = archive_read_next_header(reader, &entry);
      if (status == ARCHIVE_EOF) break;
      if (status != ARCHIVE_OK) return failure(input);
      Result<> added = add(entry);
      if (input.error()) return *input.error();
      if (!added) return std::move(added).error();
    }
    return finish(input, plain);
  }

 private:
  /// Reads the rest, so that a writer at the other end of a pipe can finish and the checksums of a
  /// compressed stream are looked at, and makes sure that the archive had an end. That is two
  /// blocks of zeros (pax(1), "ustar Interchange Format"); for one readers only warn. An archive
  /// without, which libarchive accepts, was cut off between two entries; and it stops at one zero
  /// block wherever that is, so that behind it nothing but zeros may be.
  Result<> finish(Input& input, PlainStream& plain) {
    auto entries_end = static_cast<uint64_t>(archive_read_header_position(reader_.get()));
    auto read_end = static_cast<uint64_t>(archive_filter_bytes(reader_.get(), 0));
    for (;;) {
      const void* block = nullptr;
      la_ssize_t size = PlainStream::read(reader_.get(), &plain, &block);
      if (size < 0) return failure(input);
      if (size == 0) break;
      CFS_TRY(check_interrupted());
    }
    if (plain.content_end() > read_end) {
      return make_error(ErrorCode::kCorrupt,
                        fmt::format("{}: there is data after the end of the archive at byte {}",
                                    name_, read_end))
          .with_hint("archives that were joined must be sources of their own");
    }
    // Headers that are no entries, as a volume's label, may stand between the last one and the end.
    uint64_t headers_end = align_up(plain.content_end(), kTarBlockBytes);
    if (plain.size_bytes() < std::max(entries_end, headers_end) + kTarBlockBytes) {
      return make_error(ErrorCode::kCorrupt,
                        fmt::format("{}: cut off after the last complete entry, at byte {}", name_,
                                    plain.size_bytes()));
    }
    return {};
  }

  Error failure(Input& input) const {
    if (input.error()) return Error(*input.error()).with("while reading " + name_);
    return failure_of(reader_.get(), name_);
  }

  [[nodiscard]] Error bad_entry(const std::string& path, const std::string& what) const {
    return make_error(ErrorCode::kCorrupt, fmt::format("{}: entry '{}': {}", name_, path, what));
  }

  /// The path in the image, or nothing when `strip` leaves nothing.
  Result<std::optional<std::string>> place(const char* archive_path) const {
    if (archive_path == nullptr) {
      return make_error(ErrorCode::kCorrupt, name_ + ": an entry without a usable name");
    }
    std::string path = CFS_TRY_WITH("while reading " + name_, normal_path(archive_path));
    for (unsigned i = 0; i < strip_; ++i) {
      size_t slash = path.find('/');
      if (slash == std::string::npos) return std::optional<std::string>();
      path.erase(0, slash + 1);
    }
    if (into_.empty()) return std::optional(std::move(path));
    return std::optional(path.empty() ? into_ : into_ + "/" + path);
  }

  Result<> add(struct archive_entry* entry) {
    std::optional<std::string> path = CFS_TRY(place(archive_entry_pathname(entry)));
    if (!path) return {};
    if (const char* target_path = archive_entry_hardlink(entry)) {
      std::optional<std::string> target = CFS_TRY(place(target_path));
      if (!target) return bad_entry(*path, "is a hard link to an entry that 'strip' leaves out");
      CFS_TRY_WITH("while reading " + name_, merger_.put_link(*path, *target));
      return {};
    }
    tree::Attributes attributes = CFS_TRY(attributes_of(entry, *path));
    tree::Node* node = CFS_TRY_WITH("while reading " + name_, merger_.put(*path, attributes));
    if (node->is_symlink()) {
      const char* target = archive_entry_symlink(entry);
      if (target == nullptr) return bad_entry(*path, "is a symlink without a usable target");
      CFS_TRY_WITH("while reading " + name_, tree_.set_symlink_target(*node, target));
    } else if (node->is_device()) {
      node->rdev = CFS_TRY(device_number(entry, *path));
    } else if (node->is_regular()) {
      CFS_TRY_WITH("while storing '/" + *path + "' of " + name_,
                   contents_.put(tree_, *node,
                                 [&](std::span<std::byte> buffer) { return read_data(buffer); }));
    }
    CFS_TRY_WITH("while reading '/" + *path + "' of " + name_, add_xattrs(entry, *node));
    return add_acls(entry, *path, *node);
  }

  Result<size_t> read_data(std::span<std::byte> buffer) {
    la_ssize_t count = archive_read_data(reader_.get(), buffer.data(), buffer.size());
    if (count < 0) {
      return failure_of(reader_.get(), name_);
    }
    return static_cast<size_t>(count);
  }

  Result<tree::Attributes> attributes_of(struct archive_entry* entry,
                                         const std::string& path) const {
    constexpr int64_t kMaxId = std::numeric_limits<uint32_t>::max() - 1;  // the last is no owner
    int64_t uid = archive_entry_uid(entry);
    int64_t gid = archive_entry_gid(entry);
    if (uid < 0 || uid > kMaxId || gid < 0 || gid > kMaxId) {
      return bad_entry(path, fmt::format("owner {}:{} is out of range", uid, gid));
    }
    mode_t mode = archive_entry_mode(entry);
    if ((mode & S_IFMT) == 0) return bad_entry(path, "is of an unknown type");
    return tree::Attributes{
        .mode = mode,
        .uid = static_cast<uint32_t>(uid),
        .gid = static_cast<uint32_t>(gid),
        .mtime = {archive_entry_mtime(entry),
                  static_cast<uint32_t>(archive_entry_mtime_nsec(entry))},
    };
  }

  Result<uint32_t> device_number(struct archive_entry* entry, const std::string& path) const {
    auto major_number = archive_entry_rdevmajor(entry);
    auto minor_number = archive_entry_rdevminor(entry);
    if (major_number >= (1U << 12) || minor_number >= (1U << 20)) {  // Linux include/linux/kdev_t.h
      return bad_entry(path,
                       fmt::format("device {}:{} is out of range", major_number, minor_number));
    }
    return static_cast<uint32_t>(
        ::makedev(static_cast<unsigned>(major_number), static_cast<unsigned>(minor_number)));
  }

  Result<> add_xattrs(struct archive_entry* entry, tree::Node& node) {
    archive_entry_xattr_reset(entry);
    const char* key = nullptr;
    const void* value = nullptr;
    size_t size = 0;
    while (archive_entry_xattr_next(entry, &key, &value, &size) == ARCHIVE_OK) {
      CFS_TRY(tree_.set_xattr(node, key, {static_cast<const char*>(value), size}));
    }
    return {};
  }

  Result<> add_acls(struct archive_entry* entry, const std::string& path, tree::Node& node) {
    if ((archive_entry_acl_types(entry) & ARCHIVE_ENTRY_ACL_TYPE_NFS4) != 0) {
      return bad_entry(path, "has an NFSv4 access control list, which Linux file systems lack");
    }
    // An access list without named users, groups or a mask says the same as the mode.
    std::vector<AclEntry> access = CFS_TRY(acl_of(entry, path, ARCHIVE_ENTRY_ACL_TYPE_ACCESS));
    if (access.size() > 3) {
      for (const AclEntry& rule : access) {
        if (rule.tag != AclEntry::Tag::kMask) continue;
        // libarchive put the owning group's rights there; in an inode these bits hold the mask.
        node.attributes.mode = (node.attributes.mode & ~070U) | uint32_t{rule.permissions} << 3;
      }
      CFS_TRY(tree_.set_xattr(node, "system.posix_acl_access", encode_posix_acl(access)));
    }
    std::vector<AclEntry> initial = CFS_TRY(acl_of(entry, path, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT));
    if (!initial.empty()) {
      CFS_TRY(tree_.set_xattr(node, "system.posix_acl_default", encode_posix_acl(initial)));
    }
    return {};
  }

  Result<std::vector<AclEntry>> acl_of(struct archive_entry* entry, const std::string& path,
                                       int wanted_type) const {
    std::vector<AclEntry> entries;
    if (archive_entry_acl_reset(entry, wanted_type) == 0) return entries;
    int type = 0;
    int permissions = 0;
    int tag = 0;
    int id = 0;
    const char* who = nullptr;
    while (archive_entry_acl_next(entry, wanted_type, &type, &permissions, &tag, &id, &who) ==
           ARCHIVE_OK) {
      AclEntry rule{.tag = AclEntry::Tag::kOther,
                    .permissions = static_cast<uint16_t>(permissions & 7)};
      switch (tag) {
        case ARCHIVE_ENTRY_ACL_USER_OBJ:
          rule.tag = AclEntry::Tag::kUserOwner;
          break;
        case ARCHIVE_ENTRY_ACL_USER:
          rule.tag = AclEntry::Tag::kUser;
          break;
        case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
          rule.tag = AclEntry::Tag::kGroupOwner;
          break;
        case ARCHIVE_ENTRY_ACL_GROUP:
          rule.tag = AclEntry::Tag::kGroup;
          break;
        case ARCHIVE_ENTRY_ACL_MASK:
          rule.tag = AclEntry::Tag::kMask;
          break;
        case ARCHIVE_ENTRY_ACL_OTHER:
          break;
        default:
          return bad_entry(path, fmt::format("has an access rule of unknown kind {}", tag));
      }
      if (rule.tag == AclEntry::Tag::kUser || rule.tag == AclEntry::Tag::kGroup) {
        if (id < 0) {
          return bad_entry(path, fmt::format("has an access rule for '{}' without a number",
                                             who != nullptr ? who : ""));
        }
        rule.id = static_cast<uint32_t>(id);
      }
      entries.push_back(rule);
    }
    return entries;
  }

  const std::string& name_;
  std::string into_;
  unsigned strip_;
  tree::Tree& tree_;
  Merger merger_;
  Contents& contents_;
  Reader reader_;
};

Error too_large(const std::string& name, size_t limit_bytes) {
  return make_error(ErrorCode::kInvalidInput,
                    fmt::format("{} is larger than {} bytes", name, limit_bytes));
}

Result<std::string> gunzip(const std::string& data, const std::string& name, size_t limit_bytes) {
  Bytes rest = as_bytes(data);
  Gunzip input([&]() -> Result<Bytes> { return std::exchange(rest, {}); }, name);
  std::vector<std::byte> buffer(kReadBytes);
  std::string plain;
  for (;;) {
    size_t count = CFS_TRY(input.read(buffer));
    if (count == 0) return plain;
    plain += as_text(Bytes(buffer).first(count));
    if (plain.size() > limit_bytes) return too_large(name, limit_bytes);
  }
}

}  // namespace

Result<> import_archive(int fd, const std::string& name, const ArchivePlacement& placement,
                        tree::Tree& tree, Contents& contents, Progress& progress) {
  Utf8Locale locale;
  if (!locale.valid()) return errno_error("cannot use the locale C.UTF-8");
  Input input(fd, name, progress);
  Import import(name, CFS_TRY(normal_path(placement.into)), placement.strip, tree, contents);
  return import.run(input);
}

Result<std::string> decompress(const std::string& data, const std::string& name,
                               size_t limit_bytes) {
  if (data.empty()) return data;
  if (is_gzip(as_bytes(data))) return gunzip(data, name, limit_bytes);
  Reader reader(archive_read_new());
  auto failure = [&] {
    const char* text = archive_error_string(reader.get());
    return make_error(ErrorCode::kCorrupt, fmt::format("cannot decompress {}: {}", name,
                                                       text != nullptr ? text : "unknown failure"));
  };
  struct archive_entry* entry = nullptr;
  if (!support_compression(reader.get()) ||
      archive_read_support_format_raw(reader.get()) != ARCHIVE_OK ||
      archive_read_open_memory(reader.get(), data.data(), data.size()) != ARCHIVE_OK ||
      archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK) {
    return failure();
  }
  std::string plain;
  for (;;) {
    size_t old_size = plain.size();
    plain.resize(old_size + kReadBytes);
    la_ssize_t count = archive_read_data(reader.get(), plain.data() + old_size, kReadBytes);
    if (count < 0) return failure();
    plain.resize(old_size + static_cast<size_t>(count));
    if (count == 0) return plain;
    if (plain.size() > limit_bytes) return too_large(name, limit_bytes);
  }
}

}  // namespace cfs::builder

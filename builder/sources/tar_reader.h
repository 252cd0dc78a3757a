// SPDX-License-Identifier: Apache-2.0
// The tar format, and nothing else: no tree, no file system, no compression.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/byte_stream.h"
#include "lib/base/result.h"

namespace cfs::builder {

/// Limits of what the reader keeps in memory, beside those of names (tar_header.h) and of sparse
/// maps (sparse_map.h). A larger header is refused by name.
constexpr size_t kMaxTarPaxBytes = 64 << 20;            ///< one extended header
constexpr size_t kMaxTarDumpDirectoryBytes = 16 << 20;  ///< names in a directory of a GNU dump

constexpr uint64_t kTarLongHoleBytes = 128 << 10;  ///< see TarReader::skip_hole()

/// One entry of an archive. All text is bytes as they stand in the archive, without NUL.
struct TarEntry {
  enum class Type {
    kRegular,
    kHardLink,
    kSymlink,
    kCharacterDevice,
    kBlockDevice,
    kDirectory,
    kFifo,
  };
  Type type = Type::kRegular;
  std::string path;          ///< not empty; may be absolute, hold `.` and `..`, end with a slash
  std::string link_target;   ///< of kHardLink and kSymlink; not empty
  uint32_t permissions = 0;  ///< the twelve bits of chmod(2)
  uint32_t uid = 0;          ///< up to 2^32-2
  uint32_t gid = 0;          ///< up to 2^32-2
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;  ///< 0..999,999,999, counted forwards before 1970 too
  uint64_t size_bytes = 0;         ///< of a kRegular, holes included
  bool is_sparse = false;          ///< of a kRegular: the archive has a map of its holes
  uint32_t device_major = 0;       ///< of devices, 12 bits
  uint32_t device_minor = 0;       ///< of devices, 20 bits
  /// Full name and value, each name once. Among them may be the binary forms of access lists.
  std::vector<std::pair<std::string, std::string>> xattrs;
  /// Texts of POSIX.1e access control lists, as in SCHILY.acl.access and SCHILY.acl.default.
  std::optional<std::string> access_acl;
  std::optional<std::string> default_acl;
};

/// Reads a tar archive from front to end: v7, ustar, old and new GNU, pax, and what star, Solaris,
/// libarchive and Python write in these formats.
///
///   TarReader reader(source, "'rootfs.tar'");
///   while (const TarEntry* entry = CFS_TRY(reader.next())) {
///     while (size_t count = CFS_TRY(reader.read(buffer))) use(buffer.first(count));
///   }
///
/// GNU tar decides what an archive means. Where its result depends on the host or silently leaves
/// something out, and where the standard contradicts it, the entry is refused (tar_reader.cc).
/// Owners are the numbers of the archive; names of users and groups are not used.
///
/// Errors: kCorrupt with the archive, the entry and the reason: malformed, cut short, over a limit,
/// not supported; those of the source. Memory: one entry's headers, within the limits above.
/// Spec: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Interchange Format"; GNU tar manual,
/// "Tar Internals"; star(5); libarchive tar(5).
/// Trust: the archive may come from anywhere.
class TarReader {
 public:
  /// `name` is for messages.
  TarReader(ByteSource source, std::string name);
  TarReader(TarReader&&) noexcept;
  TarReader& operator=(TarReader&&) noexcept;
  ~TarReader();

  /// The next entry, valid until the next call; what was not read of the one before is skipped.
  /// Null at the end of the archive: after at least one block of zeros, with nothing but zeros
  /// behind it. The source has been read to its end then.
  [[nodiscard]] Result<const TarEntry*> next();

  /// Reads content of the current entry into `out`, holes as zeros. Returns the number of bytes, 0
  /// at the end of the content. Stops before a hole of kTarLongHoleBytes or more, if it has read
  /// anything.
  [[nodiscard]] Result<size_t> read(std::span<std::byte> out);

  /// The length of the hole at the current position if it has at least kTarLongHoleBytes; the
  /// position is then behind it. Otherwise 0. Spares the caller reading the zeros.
  [[nodiscard]] uint64_t skip_hole();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cfs::builder

// SPDX-License-Identifier: Apache-2.0
//
// What an archive means. Five formats share one layout of 512 bytes and disagree about much of it,
// and most readers answer doubt with silence. Here GNU tar, extracting as root, is the judge: what
// it makes of an archive is what comes out, or the archive is refused with a reason. The rules
// (those of numbers are in tar_header.cc, those of records in pax_header.cc):
//
//   names       Header (with its prefix if the magic is POSIX's), then L and K, then pax 'path' and
//               'linkpath', then GNU.sparse.name: the later ones win. A file whose name ends with a
//               slash is a directory.
//   no content  Only regular files have content. A size in the header of anything else must be a
//               number and is ignored, as old archives have one; one in its pax header is refused.
//   global      A 'g' header replaces the one before: GNU tar forgets the old one, POSIX keeps what
//               the new one lacks, so that a new one which lacks something is refused.
//   sparse      The extents must ascend, end where the file ends (an empty one stands for a hole
//               there) and have exactly the bytes that the archive has for the member. GNU tar
//               reads each from a new block, others read them joined: all but the last one with
//               data must fill whole blocks.
//   types       V (label) is skipped. D (directory of an incremental dump) is a directory if the
//               dump left nothing out of it. M, N, A, E, I, star's sparse files and all others are
//               refused; GNU tar would make files of most.
//   the end     GNU tar stops at the first block of zeros and takes a missing one for an end.
//               Here one block must be there, and nothing but zeros may follow.
#include "builder/sources/tar_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <span>

#include "builder/sources/pax_header.h"
#include "builder/sources/sparse_map.h"
#include "builder/sources/tar_header.h"
#include "lib/base/interrupt.h"

namespace cfs::builder {
namespace {

constexpr size_t kSkipBytes = 64 << 10;

}  // namespace

struct TarReader::State {
  ByteSource source;
  std::string name;
  uint64_t position = 0;  ///< in the archive, of what the source yields next
  std::vector<std::byte> skipped = std::vector<std::byte>(kSkipBytes);
  PaxAttributes global;
  bool ended = false;
  TarEntry entry;

  // Content of the current entry.
  std::vector<TarExtent> extents;
  size_t next_extent = 0;          ///< the first that is not used up
  uint64_t content_position = 0;   ///< in the file
  uint64_t stored_left_bytes = 0;  ///< of the member in the archive
  uint64_t padding_bytes = 0;      ///< behind it

  /// Headers that belong to the next entry.
  struct Pending {
    std::optional<std::string> long_name;
    std::optional<std::string> long_link;
    std::optional<PaxAttributes> pax;
    [[nodiscard]] bool any() const { return long_name || long_link || pax; }
  };

  [[nodiscard]] Error corrupt(const std::string& what) const {
    return make_error(ErrorCode::kCorrupt, fmt::format("{}: {}", name, what));
  }
  [[nodiscard]] Error bad_entry(const std::string& what) const {
    return corrupt(fmt::format("entry '{}': {}", entry.path, what));
  }
  /// `result`; its error has the reason only and is told which entry it is about.
  template <typename T>
  Result<T> of_entry(Result<T> result) const {
    if (!result) result.error().message = bad_entry(result.error().message).message;
    return result;
  }
  [[nodiscard]] Error cut_off() const {
    return corrupt(fmt::format("cut off after the last complete entry, at byte {}", position));
  }
  [[nodiscard]] Error cut_off_inside(const std::string& what) const {
    return corrupt(fmt::format("cut off inside {}, at byte {}", what, position));
  }

  /// Fills `out` as far as the source goes; returns how far.
  Result<size_t> read_raw(std::span<std::byte> out) {
    size_t count = CFS_TRY(fill_buffer(source, out));
    position += count;
    return count;
  }

  Result<> skip_raw(uint64_t size, const std::string& what) {
    while (size > 0) {
      auto wanted = static_cast<size_t>(std::min<uint64_t>(size, skipped.size()));
      if (CFS_TRY(read_raw(std::span(skipped).first(wanted))) < wanted) return cut_off_inside(what);
      size -= wanted;
    }
    return {};
  }

  /// Reads a block that must be there.
  template <typename Block>
  Result<Block> read_block(const std::string& what) {
    static_assert(sizeof(Block) == kTarBlockBytes);
    Block block;
    size_t size = CFS_TRY(read_raw({reinterpret_cast<std::byte*>(&block), sizeof(block)}));
    if (size < kTarBlockBytes) return cut_off_inside(what);
    return block;
  }

  /// The content of a header's member, with its padding read too.
  Result<std::string> read_body(const TarHeader& header, const char* what, size_t limit_bytes) {
    uint64_t size = CFS_TRY(size_of(header, what));
    if (size > limit_bytes) {
      return corrupt(fmt::format("{} of {} bytes at byte {}; {} are supported", what, size,
                                 position - kTarBlockBytes, limit_bytes));
    }
    // In pieces: what is not there takes no memory.
    constexpr size_t kStepBytes = 64 << 10;
    std::string body;
    while (body.size() < size) {
      size_t step = std::min(kStepBytes, static_cast<size_t>(size) - body.size());
      size_t old_size = body.size();
      body.resize(old_size + step);
      auto room = std::as_writable_bytes(std::span(body)).subspan(old_size);
      if (CFS_TRY(read_raw(room)) < step) return cut_off_inside(what);
    }
    CFS_TRY(skip_raw(align_up(size, kTarBlockBytes) - size, what));
    return body;
  }

  Result<uint64_t> size_of(const TarHeader& header, const std::string& what) const {
    std::optional<int64_t> size = parse_tar_number(tar_field(header.size));
    if (!size || *size < 0) {
      return corrupt(
          fmt::format("{} has no valid size, at byte {}", what, position - kTarBlockBytes));
    }
    return static_cast<uint64_t>(*size);
  }

  Result<std::string> read_long_name(const TarHeader& header, const char* what) {
    std::string body = CFS_TRY(read_body(header, what, kMaxTarNameBytes + 1));
    std::string_view text = tar_text(body);
    if (text.empty() || !is_all_zero(as_bytes(body).subspan(text.size()))) {
      return corrupt(fmt::format("{} is malformed, before byte {}", what, position));
    }
    return std::string(text);
  }

  Result<PaxAttributes> read_pax(const TarHeader& header, PaxScope scope) {
    uint64_t start = position - kTarBlockBytes;
    std::string body = CFS_TRY(read_body(header, "a pax header", kMaxTarPaxBytes));
    PaxAttributes attributes;
    if (scope == PaxScope::kEntry) attributes = global;
    Result<> parsed = parse_pax(body, scope, attributes);
    if (!parsed) return corrupt(fmt::format("{}, at byte {}", parsed.error().message, start));
    return attributes;
  }

  Result<> read_global(const TarHeader& header) {
    PaxAttributes next = CFS_TRY(read_pax(header, PaxScope::kGlobal));
    const char* lost = global.mtime && !next.mtime ? "mtime"
                       : global.uid && !next.uid   ? "uid"
                       : global.gid && !next.gid   ? "gid"
                                                   : nullptr;
    if (lost != nullptr) {
      return corrupt(fmt::format(
          "a global pax header leaves out '{}' of the one before, which GNU tar forgets "
          "and POSIX keeps, before byte {}",
          lost, position));
    }
    global = std::move(next);
    return {};
  }

  /// Reads to the end: a writer at the other end of a pipe can finish, the checksums of a
  /// compressed stream are looked at, and archives that were joined are found.
  Result<> finish_archive() {
    uint64_t end = position;
    while (size_t count = CFS_TRY(source(skipped))) {
      CFS_TRY(check_interrupted());
      position += count;
      if (!is_all_zero(Bytes(skipped).first(count))) {
        return corrupt(fmt::format("there is data after the end of the archive at byte {}", end))
            .with_hint("archives that were joined must be sources of their own");
      }
    }
    return {};
  }

  Result<> finish_content() {
    if (stored_left_bytes > 0 || padding_bytes > 0) {
      CFS_TRY(skip_raw(stored_left_bytes + padding_bytes, fmt::format("'{}'", entry.path)));
    }
    stored_left_bytes = 0;
    padding_bytes = 0;
    extents.clear();
    next_extent = 0;
    content_position = 0;
    return {};
  }

  Result<> make_entry(const TarHeader& header, Pending pending);
  Result<> set_type(const TarHeader& header, TarFormat format);
  Result<> set_content(const TarHeader& header, TarFormat format, PaxAttributes& pax);
  Result<> set_owner_and_time(const TarHeader& header, const PaxAttributes& pax);
  Result<> set_device(const TarHeader& header, TarFormat format, const PaxAttributes& pax);
  Result<> check_dump_directory(std::string_view list) const;
  Result<> read_gnu_extents(const TarHeader& header);
  Result<> read_pax_extents(PaxAttributes& pax);
  Result<> read_sparse_map();
  Result<> check_extents() const {
    return of_entry(check_sparse_map(extents, entry.size_bytes, stored_left_bytes));
  }
};

Result<> TarReader::State::set_type(const TarHeader& header, TarFormat format) {
  using Type = TarEntry::Type;
  switch (header.typeflag) {
    case '\0':
    case '0':
    case '7':  // contiguous
      entry.type = entry.path.back() == '/' ? Type::kDirectory : Type::kRegular;
      return {};
    case 'S':
      if (format != TarFormat::kGnu)
        return bad_entry("is a sparse file in a format that is not GNU's");
      entry.type = Type::kRegular;
      return {};
    case '1':
      entry.type = Type::kHardLink;
      return {};
    case '2':
      entry.type = Type::kSymlink;
      return {};
    case '3':
      entry.type = Type::kCharacterDevice;
      return {};
    case '4':
      entry.type = Type::kBlockDevice;
      return {};
    case '5':
    case 'D':
      entry.type = Type::kDirectory;
      return {};
    case '6':
      entry.type = Type::kFifo;
      return {};
    case 'M':
      return bad_entry(
                 "continues a file of another volume; archives of several volumes are not "
                 "supported")
          .with_hint("join the volumes with GNU tar and write one archive");
    case 'N':
      return bad_entry("is a list of long names of a GNU tar before 1.11, which is not supported");
    case 'A':
      return bad_entry("is a Solaris access control list, which is not supported");
    case 'E':
      return bad_entry("is a Solaris extended attribute, which is not supported");
    default:
      return bad_entry(fmt::format("is of the unknown type '{}'", header.typeflag));
  }
}

Result<> TarReader::State::set_owner_and_time(const TarHeader& header, const PaxAttributes& pax) {
  constexpr int64_t kMaxId = std::numeric_limits<uint32_t>::max() - 1;  // the last is no owner
  std::optional<int64_t> mode = parse_tar_number(tar_field(header.mode));
  if (!mode) return bad_entry("has no valid mode");
  entry.permissions = static_cast<uint32_t>(*mode & 07777);

  std::optional<int64_t> uid = pax.uid ? pax.uid : parse_tar_number(tar_field(header.uid));
  std::optional<int64_t> gid = pax.gid ? pax.gid : parse_tar_number(tar_field(header.gid));
  if (!uid || !gid) return bad_entry("has no valid owner");
  if (*uid < 0 || *uid > kMaxId || *gid < 0 || *gid > kMaxId) {
    return bad_entry(fmt::format("owner {}:{} is out of range", *uid, *gid));
  }
  entry.uid = static_cast<uint32_t>(*uid);
  entry.gid = static_cast<uint32_t>(*gid);

  std::optional<PaxTime> mtime = pax.mtime;
  if (!mtime) {
    std::optional<int64_t> seconds = parse_tar_number(tar_field(header.mtime));
    if (!seconds) return bad_entry("has no valid time");
    mtime = PaxTime{*seconds, 0};
  }
  entry.mtime_seconds = mtime->seconds;
  entry.mtime_nanoseconds = mtime->nanoseconds;
  return {};
}

Result<> TarReader::State::set_device(const TarHeader& header, TarFormat format,
                                      const PaxAttributes& pax) {
  if (format == TarFormat::kV7) return bad_entry("is a device in a format that has none");
  auto number = [](const std::optional<uint64_t>& from_pax, std::string_view bytes) {
    return from_pax ? static_cast<int64_t>(*from_pax) : parse_tar_number(bytes).value_or(-1);
  };
  int64_t device_major = number(pax.device_major, tar_field(header.devmajor));
  int64_t device_minor = number(pax.device_minor, tar_field(header.devminor));
  // Linux include/linux/kdev_t.h
  if (device_major < 0 || device_major >= (1 << 12) || device_minor < 0 ||
      device_minor >= (1 << 20)) {
    return bad_entry(fmt::format("device {}:{} is out of range", device_major, device_minor));
  }
  entry.device_major = static_cast<uint32_t>(device_major);
  entry.device_minor = static_cast<uint32_t>(device_minor);
  return {};
}

/// Spec: GNU tar manual, "Dumpdir": a letter and a name with a NUL behind it, for each name; a NUL.
Result<> TarReader::State::check_dump_directory(std::string_view list) const {
  while (!list.empty() && list[0] != '\0') {
    size_t end = list.find('\0');
    if (end == std::string_view::npos) return bad_entry("has a malformed list of names");
    // Y: in the archive; D: a directory.
    if (list[0] != 'Y' && list[0] != 'D') {
      return bad_entry(fmt::format("is of an incremental dump that leaves '{}' out",
                                   list.substr(1, end - 1)))
          .with_hint("restore the dumps with GNU tar and write one archive");
    }
    list.remove_prefix(end + 1);
  }
  return {};
}

Result<> TarReader::State::read_gnu_extents(const TarHeader& header) {
  GnuTarHeader gnu;
  std::memcpy(&gnu, &header, sizeof(gnu));
  std::optional<int64_t> real_size = parse_tar_number(tar_field(gnu.real_size));
  if (!real_size || *real_size < 0) return bad_entry("is a sparse file without a valid size");
  entry.size_bytes = static_cast<uint64_t>(*real_size);

  bool more = CFS_TRY(of_entry(add_gnu_extents(gnu.extents, extents)));
  char is_extended = gnu.is_extended;
  while (is_extended != '\0') {
    CFS_TRY(check_interrupted());
    if (!more) return bad_entry("has extents behind the last one");
    auto block = CFS_TRY(read_block<GnuTarExtentBlock>(fmt::format("'{}'", entry.path)));
    more = CFS_TRY(of_entry(add_gnu_extents(block.extents, extents)));
    is_extended = block.is_extended;
  }
  return {};
}

/// The map of sparse format 1.0, in the first blocks of the member.
Result<> TarReader::State::read_sparse_map() {
  SparseMapParser map;
  for (;;) {
    if (stored_left_bytes < kTarBlockBytes) return bad_entry("has a sparse map that does not end");
    auto block =
        CFS_TRY(read_block<std::array<char, kTarBlockBytes>>(fmt::format("'{}'", entry.path)));
    stored_left_bytes -= kTarBlockBytes;
    if (CFS_TRY(of_entry(map.feed({block.data(), block.size()})))) break;
  }
  extents = map.take();
  return {};
}

Result<> TarReader::State::read_pax_extents(PaxAttributes& pax) {
  uint64_t version_major = pax.sparse_major.value_or(0);
  uint64_t version_minor = pax.sparse_minor.value_or(0);
  if (!pax.sparse_real_size) return bad_entry("is a sparse file without a size");
  entry.size_bytes = *pax.sparse_real_size;
  if (version_major == 0 && version_minor <= 1) {
    if (pax.has_sparse_map == pax.has_sparse_pairs) {
      return bad_entry("is a sparse file without one valid map");
    }
    if (!pax.sparse_count || *pax.sparse_count != pax.sparse_extents.size()) {
      return bad_entry("has a sparse map of another length than its count says");
    }
    extents = std::move(pax.sparse_extents);
    return {};
  }
  if (version_major != 1 || version_minor != 0) {
    return bad_entry(
        fmt::format("is a sparse file of the unknown format {}.{}", version_major, version_minor));
  }
  if (pax.has_sparse_map || pax.has_sparse_pairs) {
    return bad_entry("has sparse maps of two formats");
  }
  return read_sparse_map();
}

Result<> TarReader::State::set_content(const TarHeader& header, TarFormat format,
                                       PaxAttributes& pax) {
  if (pax.is_sparse && (entry.type != TarEntry::Type::kRegular || header.typeflag == 'S' ||
                        format != TarFormat::kPosix)) {
    return bad_entry("has a sparse map that does not belong to it");
  }
  if (pax.dump_directory) {
    if (entry.type != TarEntry::Type::kDirectory) return bad_entry("has a list of names");
    CFS_TRY(check_dump_directory(*pax.dump_directory));
  }
  // The field must hold a number even where it means nothing, as GNU tar wants it.
  uint64_t size = CFS_TRY(size_of(header, fmt::format("entry '{}'", entry.path)));
  if (entry.type != TarEntry::Type::kRegular) {
    if (header.typeflag == 'D' && !pax.size) {
      std::string list = CFS_TRY(read_body(header, "a list of names", kMaxTarDumpDirectoryBytes));
      return check_dump_directory(list);
    }
    bool named_like_a_directory =
        entry.type == TarEntry::Type::kDirectory && header.typeflag != '5';
    if (pax.size.value_or(named_like_a_directory ? size : 0) != 0) {
      return bad_entry("has content that this type of entry lacks");
    }
    return {};
  }

  stored_left_bytes = pax.size.value_or(size);
  padding_bytes = align_up(stored_left_bytes, kTarBlockBytes) - stored_left_bytes;
  entry.is_sparse = header.typeflag == 'S' || pax.is_sparse;
  if (header.typeflag == 'S') {
    CFS_TRY(read_gnu_extents(header));
    return check_extents();
  }
  if (pax.is_sparse) {
    CFS_TRY(read_pax_extents(pax));
    return check_extents();
  }
  entry.size_bytes = stored_left_bytes;
  extents.push_back({0, entry.size_bytes});
  return {};
}

Result<> TarReader::State::make_entry(const TarHeader& header, Pending pending) {
  TarFormat format = tar_format_of(header);
  PaxAttributes pax = pending.pax ? *std::move(pending.pax) : global;
  entry = TarEntry();
  entry.path = pending.long_name ? *std::move(pending.long_name) : tar_name_of(header);
  if (pax.path) entry.path = *std::move(pax.path);
  if (pax.sparse_name) entry.path = *std::move(pax.sparse_name);
  if (entry.path.empty()) {
    return corrupt(fmt::format("an entry without a name, at byte {}", position - kTarBlockBytes));
  }
  CFS_TRY(set_type(header, format));
  CFS_TRY(set_owner_and_time(header, pax));
  if (entry.type == TarEntry::Type::kHardLink || entry.type == TarEntry::Type::kSymlink) {
    entry.link_target =
        pending.long_link ? *std::move(pending.long_link) : tar_text(tar_field(header.linkname));
    if (pax.link_path) entry.link_target = *std::move(pax.link_path);
    if (entry.link_target.empty()) return bad_entry("is a link without a target");
  }
  if (entry.type == TarEntry::Type::kCharacterDevice ||
      entry.type == TarEntry::Type::kBlockDevice) {
    CFS_TRY(set_device(header, format, pax));
  }
  entry.xattrs = CFS_TRY(of_entry(take_xattrs(pax)));
  entry.access_acl = std::move(pax.access_acl);
  entry.default_acl = std::move(pax.default_acl);
  return set_content(header, format, pax);
}

TarReader::TarReader(ByteSource source, std::string name) : state_(std::make_unique<State>()) {
  state_->source = std::move(source);
  state_->name = std::move(name);
}
TarReader::TarReader(TarReader&&) noexcept = default;
TarReader& TarReader::operator=(TarReader&&) noexcept = default;
TarReader::~TarReader() = default;

Result<const TarEntry*> TarReader::next() {
  State& state = *state_;
  if (state.ended) return nullptr;
  CFS_TRY(state.finish_content());
  State::Pending pending;
  for (;;) {
    CFS_TRY(check_interrupted());
    TarHeader header;
    size_t size = CFS_TRY(state.read_raw({reinterpret_cast<std::byte*>(&header), sizeof(header)}));
    if (size < sizeof(header)) return state.cut_off();
    Bytes block(reinterpret_cast<const std::byte*>(&header), sizeof(header));
    if (is_all_zero(block)) {
      if (pending.any()) return state.corrupt("the last header has no entry");
      CFS_TRY(state.finish_archive());
      state.ended = true;
      return nullptr;
    }
    if (!is_tar_header(block)) {
      if (state.position == sizeof(header)) return state.corrupt("is not a tar archive");
      return state.corrupt(
          fmt::format("there is no valid header at byte {}", state.position - sizeof(header)));
    }
    switch (header.typeflag) {
      case 'L':
        pending.long_name = CFS_TRY(state.read_long_name(header, "a long name"));
        break;
      case 'K':
        pending.long_link = CFS_TRY(state.read_long_name(header, "a long link target"));
        break;
      case 'x':
      case 'X':  // Solaris
        if (pending.pax) {
          return state.corrupt(fmt::format("two pax headers for one entry, at byte {}",
                                           state.position - sizeof(header)));
        }
        pending.pax = CFS_TRY(state.read_pax(header, PaxScope::kEntry));
        break;
      case 'g':
        if (pending.pax) {
          return state.corrupt(fmt::format("a global pax header behind an entry's, at byte {}",
                                           state.position - sizeof(header)));
        }
        CFS_TRY(state.read_global(header));
        break;
      case 'V': {
        if (pending.any()) return state.corrupt("a volume label with headers of an entry");
        uint64_t skipped = CFS_TRY(state.size_of(header, "a volume label"));
        if (skipped > kMaxTarPaxBytes) return state.corrupt("a volume label with content");
        CFS_TRY(state.skip_raw(align_up(skipped, kTarBlockBytes), "a volume label"));
        break;
      }
      default:
        CFS_TRY(state.make_entry(header, std::move(pending)));
        return &state.entry;
    }
  }
}

Result<size_t> TarReader::read(std::span<std::byte> out) {
  State& state = *state_;
  size_t used = 0;
  while (used < out.size() && state.content_position < state.entry.size_bytes) {
    bool is_last = state.next_extent == state.extents.size();
    TarExtent extent =
        is_last ? TarExtent{state.entry.size_bytes, 0} : state.extents[state.next_extent];
    if (state.content_position < extent.offset) {
      uint64_t hole = extent.offset - state.content_position;
      if (hole >= kTarLongHoleBytes && used > 0) break;
      auto count = static_cast<size_t>(std::min<uint64_t>(hole, out.size() - used));
      std::memset(out.data() + used, 0, count);
      used += count;
      state.content_position += count;
      continue;
    }
    uint64_t left = extent.offset + extent.size - state.content_position;
    if (left == 0) {
      ++state.next_extent;
      continue;
    }
    auto wanted = static_cast<size_t>(std::min<uint64_t>(left, out.size() - used));
    size_t count = CFS_TRY(state.read_raw(out.subspan(used, wanted)));
    if (count < wanted) {
      return state.bad_entry(fmt::format("cut off after {} of {} bytes",
                                         state.content_position + count, state.entry.size_bytes));
    }
    used += count;
    state.content_position += count;
    state.stored_left_bytes -= count;
  }
  return used;
}

uint64_t TarReader::skip_hole() {
  State& state = *state_;
  while (state.next_extent < state.extents.size()) {
    TarExtent extent = state.extents[state.next_extent];
    if (extent.offset + extent.size > state.content_position) break;
    ++state.next_extent;
  }
  uint64_t data = state.next_extent == state.extents.size()
                      ? state.entry.size_bytes
                      : state.extents[state.next_extent].offset;
  uint64_t hole = data - std::min(data, state.content_position);
  if (hole < kTarLongHoleBytes) return 0;
  state.content_position = data;
  return hole;
}

}  // namespace cfs::builder

// SPDX-License-Identifier: Apache-2.0
// A tar archive in pieces, read whole and with holes skipped: both give the same entries and the
// same content, or the same error, and what they give is within its limits. The first byte is the
// size of the pieces and says whether the rest goes through the decompressor.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "builder/sources/decompress.h"
#include "builder/sources/posix_acl.h"
#include "builder/sources/tar_header.h"
#include "builder/sources/tar_reader.h"
#include "lib/base/check.h"
#include "lib/verity/merkle.h"

namespace {

using namespace cfs;           // NOLINT(google-build-using-namespace)
using namespace cfs::builder;  // NOLINT(google-build-using-namespace)

// Content is compared up to here: a few bytes may stand for a hole of any size.
constexpr uint64_t kMaxContentBytes = 1 << 20;

enum class Holes { kRead, kSkip };

void add(verity::MerkleHasher& hash, std::string_view text) {
  hash.update(as_bytes(text));
  hash.update(as_bytes(std::string_view("\0", 1)));
}

/// A digest of everything that a reader says.
verity::Digest read_all(Bytes data, size_t step, Holes holes) {
  ByteSource source = source_of_bytes(data);
  TarReader reader(
      [&](std::span<std::byte> buffer) {
        return source(buffer.first(std::min(step, buffer.size())));
      },
      "t");
  verity::MerkleHasher hash;
  std::byte buffer[4096];
  for (;;) {
    Result<const TarEntry*> next = reader.next();
    if (!next) {
      CFS_CHECK(next.error().code == ErrorCode::kCorrupt);
      add(hash, next.error().message);
      break;
    }
    const TarEntry* entry = *next;
    if (entry == nullptr) {
      CFS_CHECK(*source(buffer) == 0);
      break;
    }
    CFS_CHECK(!entry->path.empty() && entry->path.size() <= kMaxTarNameBytes + 300);
    CFS_CHECK(entry->path.find('\0') == std::string::npos);
    CFS_CHECK(entry->link_target.find('\0') == std::string::npos);
    CFS_CHECK(entry->permissions <= 07777 && entry->mtime_nanoseconds < 1'000'000'000);
    CFS_CHECK(entry->uid != 0xffffffff && entry->gid != 0xffffffff);
    CFS_CHECK(entry->type == TarEntry::Type::kRegular || entry->size_bytes == 0);
    add(hash, entry->path);
    add(hash, entry->link_target);
    add(hash, std::to_string(entry->size_bytes));
    for (const auto& [key, value] : entry->xattrs) {
      add(hash, key);
      add(hash, value);
      if (Result<std::vector<AclEntry>> acl = decode_posix_acl(value)) {
        CFS_CHECK(*decode_posix_acl(encode_posix_acl(*acl)) == *acl);
      }
    }
    if (entry->access_acl) (void)parse_posix_acl(*entry->access_acl).has_value();

    verity::MerkleHasher content;  // counts only when it is whole
    uint64_t done = 0;
    bool failed = false;
    const uint64_t limit = std::min(entry->size_bytes, kMaxContentBytes);
    while (done < limit && !failed) {
      uint64_t hole = holes == Holes::kSkip ? reader.skip_hole() : 0;
      CFS_CHECK(done + hole <= entry->size_bytes);
      for (uint64_t left = std::min(hole, limit - done); left > 0;) {
        std::memset(buffer, 0, sizeof(buffer));
        size_t count = static_cast<size_t>(std::min<uint64_t>(left, sizeof(buffer)));
        content.update(Bytes(buffer).first(count));
        left -= count;
      }
      done += hole;
      if (hole > 0) continue;
      auto room = std::span(buffer).first(
          static_cast<size_t>(std::min<uint64_t>(sizeof(buffer), limit - done)));
      Result<size_t> count = reader.read(room);
      if (!count) {
        failed = true;
      } else {
        CFS_CHECK(*count > 0);
        content.update(Bytes(buffer).first(*count));
        done += *count;
      }
    }
    if (failed) {
      add(hash, "failed");
      break;
    }
    add(hash, content.finish().hex());
    CFS_CHECK(limit < entry->size_bytes || *reader.read(buffer) == 0);
  }
  return hash.finish();
}

/// Gives blocks that look like headers the right checksum, so that a change elsewhere in one is not
/// refused for it.
void repair(std::string& archive) {
  for (size_t at = 0; at + kTarBlockBytes <= archive.size(); at += kTarBlockBytes) {
    if (archive.compare(at + 257, 5, "ustar") != 0) continue;
    archive.replace(at + 148, 8, "        ");
    unsigned sum = 0;
    for (char c : std::string_view(archive).substr(at, kTarBlockBytes)) {
      sum += static_cast<unsigned char>(c);
    }
    for (size_t digit = 6; digit-- > 0; sum /= 8) {
      archive[at + 148 + digit] = static_cast<char>('0' + sum % 8);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  const size_t step = size_t{bytes[0]} * 8 + 1;
  Bytes data(reinterpret_cast<const std::byte*>(bytes) + 1, size - 1);
  if (bytes[0] % 4 == 0) {
    std::string plain;
    if (Result<std::string> result = decompress(std::string(as_text(data)), "t", 4 << 20)) {
      plain = *std::move(result);
    }
    (void)read_all(as_bytes(plain), step, Holes::kRead);
    return 0;
  }
  std::string archive(as_text(data));
  if (bytes[0] % 4 != 3) repair(archive);
  data = as_bytes(archive);
  CFS_CHECK(read_all(data, step, Holes::kRead) == read_all(data, 10240, Holes::kSkip));
  return 0;
}

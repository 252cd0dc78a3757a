// SPDX-License-Identifier: Apache-2.0
#include "builder/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "lib/base/check.h"

namespace cfs::builder {
namespace {

constexpr int kGzipOnly = 16 + MAX_WBITS;  // zlib.h, inflateInit2: gzip header and trailer, 32 KiB

Bytef* as_zlib(const std::byte* bytes) {
  // zlib's input pointer is not const, though nothing is written through it.
  return reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes));
}

uInt as_zlib(size_t size) {
  return static_cast<uInt>(std::min<size_t>(size, std::numeric_limits<uInt>::max()));
}

}  // namespace

struct Gunzip::State {
  Source source;
  std::string name;
  z_stream stream = {};
  Bytes piece;  ///< of the source, not yet decompressed
  enum { kInMember, kBetween, kEnded } position = kInMember;

  State(Source new_source, std::string new_name)
      : source(std::move(new_source)), name(std::move(new_name)) {
    CFS_CHECK(::inflateInit2(&stream, kGzipOnly) == Z_OK);  // fails for want of memory only
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { ::inflateEnd(&stream); }

  Error corrupt(const std::string& what) const {
    return make_error(ErrorCode::kCorrupt, name + ": gzip: " + what);
  }

  /// False at the end of the compressed data.
  Result<bool> fetch() {
    if (piece.empty()) piece = CFS_TRY(source());
    return !piece.empty();
  }

  /// After a member: another one, zeros, or the end.
  Result<> next_member() {
    if (!CFS_TRY(fetch())) {
      position = kEnded;
      return {};
    }
    if (piece[0] != std::byte{}) {
      CFS_CHECK(::inflateReset(&stream) == Z_OK);
      position = kInMember;
      return {};
    }
    while (CFS_TRY(fetch())) {
      if (std::any_of(piece.begin(), piece.end(), [](std::byte b) { return b != std::byte{}; })) {
        return corrupt("there is something behind the compressed data");
      }
      piece = {};
    }
    position = kEnded;
    return {};
  }

  /// One step; the number of bytes decompressed.
  Result<size_t> inflate_into(std::span<std::byte> out) {
    if (!CFS_TRY(fetch())) return corrupt("the data is cut off");
    stream.next_in = as_zlib(piece.data());
    stream.avail_in = as_zlib(piece.size());
    uInt offered = stream.avail_in;
    stream.next_out = as_zlib(out.data());
    stream.avail_out = as_zlib(out.size());
    uInt room = stream.avail_out;
    int status = ::inflate(&stream, Z_NO_FLUSH);
    piece = piece.subspan(offered - stream.avail_in);
    if (status == Z_STREAM_END) {
      position = kBetween;
    } else if (status != Z_OK) {
      return corrupt(stream.msg != nullptr ? stream.msg : "unknown failure");
    }
    return size_t{room - stream.avail_out};
  }
};

bool is_gzip(Bytes head) {
  return head.size() >= 2 && head[0] == std::byte{0x1f} && head[1] == std::byte{0x8b};
}

Gunzip::Gunzip(Source source, std::string name)
    : state_(std::make_unique<State>(std::move(source), std::move(name))) {}
Gunzip::Gunzip(Gunzip&&) noexcept = default;
Gunzip::~Gunzip() = default;

Result<size_t> Gunzip::read(std::span<std::byte> out) {
  CFS_CHECK(!out.empty());
  State& state = *state_;
  for (;;) {
    if (state.position == State::kBetween) CFS_TRY(state.next_member());
    if (state.position == State::kEnded) return size_t{0};
    size_t count = CFS_TRY(state.inflate_into(out));
    if (count > 0) return count;
  }
}

}  // namespace cfs::builder

// SPDX-License-Identifier: Apache-2.0
#include "deployer/fetch/zstd_reader.h"

#include <zstd.h>

#include "lib/base/check.h"

namespace cfs::deployer {
namespace {

constexpr int kMaxWindowLog = 23;

struct ContextDeleter {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

}  // namespace

struct ZstdReader::State {
  Source source;
  uint64_t left_bytes;
  std::unique_ptr<ZSTD_DCtx, ContextDeleter> context{ZSTD_createDCtx()};
  std::vector<std::byte> buffer = std::vector<std::byte>(ZSTD_DStreamInSize());
  ZSTD_inBuffer input{nullptr, 0, 0};
  bool inside_frame = false;
};

ZstdReader::ZstdReader(Source source, uint64_t size_bytes)
    : state_(new State{.source = std::move(source), .left_bytes = size_bytes}) {
  CFS_CHECK(state_->context != nullptr);
  ZSTD_DCtx_setParameter(state_->context.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
}

ZstdReader::~ZstdReader() = default;

Result<size_t> ZstdReader::read(std::span<std::byte> buffer) {
  State& state = *state_;
  ZSTD_outBuffer output{buffer.data(), buffer.size(), 0};
  while (output.pos == 0) {
    // With all input consumed the decoder may still hold output; only when it adds nothing it needs
    // more.
    size_t before = state.input.pos;
    if (state.input.size > 0) {
      size_t hint = ZSTD_decompressStream(state.context.get(), &output, &state.input);
      if (ZSTD_isError(hint) != 0) {
        return make_error(ErrorCode::kCorrupt,
                          std::string("cannot decompress: ") + ZSTD_getErrorName(hint));
      }
      if (state.input.pos > before || output.pos > 0) state.inside_frame = hint != 0;
    }
    if (output.pos > 0 || state.input.pos < state.input.size) continue;
    size_t count = CFS_TRY(state.source(state.buffer));
    if (count == 0) {
      if (state.inside_frame) {
        return make_error(ErrorCode::kCorrupt, "the compressed data is cut short");
      }
      if (state.left_bytes > 0) {
        return make_error(ErrorCode::kCorrupt, "the data is shorter than announced");
      }
      return size_t{0};
    }
    state.input = {state.buffer.data(), count, 0};
  }
  if (output.pos > state.left_bytes) {
    return make_error(ErrorCode::kCorrupt, "the data is longer than announced");
  }
  state.left_bytes -= output.pos;
  return output.pos;
}

}  // namespace cfs::deployer

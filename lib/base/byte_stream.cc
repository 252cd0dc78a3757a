// SPDX-License-Identifier: Apache-2.0
#include "lib/base/byte_stream.h"

#include <algorithm>
#include <cstring>

#include "lib/base/check.h"

namespace cfs {
namespace {

constexpr size_t kChunkBytes = 64 << 10;

}  // namespace

ByteSource source_of_bytes(Bytes bytes) {
  return [bytes](std::span<std::byte> buffer) mutable -> Result<size_t> {
    size_t count = std::min(buffer.size(), bytes.size());
    if (count > 0) std::memcpy(buffer.data(), bytes.data(), count);
    bytes = bytes.subspan(count);
    return count;
  };
}

ByteSink sink_to_string(std::string& text) {
  return [&text](Bytes bytes) -> Result<> {
    text += as_text(bytes);
    return {};
  };
}

Result<size_t> fill_buffer(const ByteSource& source, std::span<std::byte> buffer) {
  size_t done = 0;
  while (done < buffer.size()) {
    size_t count = CFS_TRY(source(buffer.subspan(done)));
    CFS_CHECK(count <= buffer.size() - done);
    if (count == 0) break;
    done += count;
  }
  return done;
}

Result<std::string> read_all(const ByteSource& source, size_t limit_bytes) {
  std::string content;
  for (;;) {
    size_t old_size = content.size();
    size_t chunk = std::min(kChunkBytes, limit_bytes - old_size + 1);
    content.resize(old_size + chunk);
    std::span<std::byte> space = std::as_writable_bytes(std::span(content)).subspan(old_size);
    size_t count = CFS_TRY(fill_buffer(source, space));
    content.resize(old_size + count);
    if (content.size() > limit_bytes) {
      return make_error(ErrorCode::kInvalidInput,
                        "there are more than " + std::to_string(limit_bytes) + " bytes");
    }
    if (count < chunk) return content;
  }
}

}  // namespace cfs

// SPDX-License-Identifier: Apache-2.0
// Any bytes as an encoded object, in pieces; the first two bytes say how large it is announced and
// how large the pieces are. What is accepted is exactly one zstd frame of exactly that size.
#include <zstd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "lib/base/check.h"
#include "lib/transport/encoding.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfs;  // NOLINT(google-build-using-namespace)
  if (size < 2) return 0;
  const uint64_t announced = uint64_t{data[0]} * 16;
  const size_t step = size_t{data[1]} + 1;
  Bytes input = std::as_bytes(std::span(data + 2, size - 2));
  size_t position = 0;
  transport::ObjectDecoder decoder(
      [&](std::span<std::byte> buffer) -> Result<size_t> {
        size_t count = std::min({step, buffer.size(), input.size() - position});
        std::memcpy(buffer.data(), input.data() + position, count);
        position += count;
        return count;
      },
      announced);
  std::vector<std::byte> buffer(step * 3);
  uint64_t plain = 0;
  while (true) {
    Result<size_t> count = decoder.read(buffer);
    if (!count) return 0;
    if (*count == 0) break;
    plain += *count;
    CFS_CHECK(plain <= announced);
  }
  CFS_CHECK(plain == announced && position == input.size());
  CFS_CHECK(ZSTD_findFrameCompressedSize(input.data(), input.size()) == input.size());
  return 0;
}

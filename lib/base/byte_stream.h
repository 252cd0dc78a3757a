// SPDX-License-Identifier: Apache-2.0
// Content on its way: who gives it and who takes it do not know each other.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/result.h"

namespace cfs {

/// Writes the next bytes to the front of the buffer and returns how many: at least one, unless
/// nothing is left, which 0 says. The buffer is never empty. Called by one thread at a time.
using ByteSource = std::function<Result<size_t>(std::span<std::byte>)>;

/// Takes the next bytes, all of them. Called by one thread at a time.
using ByteSink = std::function<Result<>(Bytes)>;

/// Yields `bytes`, which must outlive the source.
[[nodiscard]] ByteSource source_of_bytes(Bytes bytes);

/// Appends to `text`, which must outlive the sink.
[[nodiscard]] ByteSink sink_to_string(std::string& text);

/// Reads until the buffer is full or nothing is left. Returns the number of bytes read.
[[nodiscard]] Result<size_t> fill_buffer(const ByteSource& source, std::span<std::byte> buffer);

/// Reads to the end. Errors: kInvalidInput when there are more than `limit_bytes`.
[[nodiscard]] Result<std::string> read_all(const ByteSource& source, size_t limit_bytes);

}  // namespace cfs

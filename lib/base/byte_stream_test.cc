// SPDX-License-Identifier: Apache-2.0
#include "lib/base/byte_stream.h"

#include <gtest/gtest.h>

#include <array>

namespace cfs {
namespace {

/// Yields `text` in pieces of at most `piece` bytes, as a network does.
ByteSource in_pieces(std::string_view text, size_t piece) {
  ByteSource whole = source_of_bytes(as_bytes(text));
  return [whole, piece](std::span<std::byte> buffer) {
    return whole(buffer.first(std::min(piece, buffer.size())));
  };
}

TEST(ByteStream, FillBufferJoinsPieces) {
  ByteSource source = in_pieces("abcdefg", 2);
  std::array<std::byte, 5> buffer;
  EXPECT_EQ(fill_buffer(source, buffer).value(), 5U);
  EXPECT_EQ(as_text(buffer), "abcde");
  EXPECT_EQ(fill_buffer(source, buffer).value(), 2U);
  EXPECT_EQ(as_text(buffer).substr(0, 2), "fg");
  EXPECT_EQ(fill_buffer(source, buffer).value(), 0U);
}

TEST(ByteStream, ReadAllTakesTheLimitAndNoMore) {
  EXPECT_EQ(read_all(in_pieces("12345", 1), 5).value(), "12345");
  EXPECT_EQ(read_all(in_pieces("12345", 1), 4).error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(read_all(source_of_bytes({}), 0).value(), "");
  std::string large(200'000, 'x');
  EXPECT_EQ(read_all(in_pieces(large, 70'000), large.size()).value(), large);
}

TEST(ByteStream, SinkToStringAppends) {
  std::string text = "a";
  ByteSink sink = sink_to_string(text);
  EXPECT_TRUE(sink(as_bytes("bc")));
  EXPECT_TRUE(sink(as_bytes("d")));
  EXPECT_EQ(text, "abcd");
}

TEST(ByteStream, ErrorsOfTheSourceArePassedOn) {
  ByteSource bad_source = [](std::span<std::byte>) -> Result<size_t> {
    return make_error(ErrorCode::kNetwork, "source");
  };
  EXPECT_EQ(read_all(bad_source, 5).error().message, "source");
}

}  // namespace
}  // namespace cfs

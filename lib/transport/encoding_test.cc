// SPDX-License-Identifier: Apache-2.0
#include "lib/transport/encoding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <cstring>
#include <random>

#include "lib/base/atomic_file.h"
#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/verity/merkle.h"

namespace cfs::transport {
namespace {

// Bytes that do not compress well.
std::string noise(size_t size) {
  std::string text(size, '\0');
  uint32_t state = 1;
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

class EncodedObjectTest : public ::testing::Test {
 protected:
  std::string path(const char* name) { return directory_.path() + "/" + name; }
  UniqueFd input(std::string_view content) {
    EXPECT_TRUE(write_file_atomically(AT_FDCWD, path("plain"), as_bytes(content)));
    return *open_at(AT_FDCWD, path("plain"), O_RDONLY);
  }
  Result<uint64_t> encode(std::string_view content, const verity::Digest& digest,
                          uint64_t size_bytes) {
    UniqueFd in = input(content);
    UniqueFd out = *open_at(AT_FDCWD, path("encoded"), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    return encode_object(in.get(), out.get(), digest, size_bytes);
  }
  Result<> check(std::string_view encoded, std::string_view plain) {
    EXPECT_TRUE(write_file_atomically(AT_FDCWD, path("encoded"), as_bytes(encoded)));
    UniqueFd in = *open_at(AT_FDCWD, path("encoded"), O_RDONLY);
    return check_encoded_object(in.get(), verity::digest_of(as_bytes(plain)), plain.size());
  }
  TemporaryDirectory directory_ = *TemporaryDirectory::create();
};

TEST_F(EncodedObjectTest, RoundTripAtEveryBoundary) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{128 << 10},
                      size_t{(128 << 10) + 1}, size_t{1} << 20}) {
    std::string plain = noise(size);
    Result<uint64_t> encoded_size = encode(plain, verity::digest_of(as_bytes(plain)), size);
    ASSERT_TRUE(encoded_size) << encoded_size.error().describe();
    std::string encoded = *read_file(AT_FDCWD, path("encoded"), 16 << 20);
    EXPECT_EQ(encoded.size(), *encoded_size);
    EXPECT_LE(encoded.size(), max_encoded_size(size));
    EXPECT_TRUE(check(encoded, plain));
    // The zstd program agrees.
    EXPECT_EQ(*run_command({.arguments = {"zstd", "-qdc", path("encoded")}}), plain);
    // The same bytes every time.
    ASSERT_TRUE(encode(plain, verity::digest_of(as_bytes(plain)), size));
    EXPECT_EQ(*read_file(AT_FDCWD, path("encoded"), 16 << 20), encoded);
  }
}

TEST_F(EncodedObjectTest, ContentMustBeWhatItsNameSays) {
  std::string plain = noise(300000);
  verity::Digest digest = verity::digest_of(as_bytes(plain));
  std::string changed = plain;
  changed[250000] ^= 1;
  EXPECT_EQ(encode(changed, digest, plain.size()).error().code, ErrorCode::kDigestMismatch);
  EXPECT_EQ(encode(plain + "x", digest, plain.size()).error().code, ErrorCode::kDigestMismatch);
  EXPECT_EQ(encode(plain.substr(1), digest, plain.size()).error().code, ErrorCode::kDigestMismatch);
}

TEST_F(EncodedObjectTest, DamagedFilesAreSeen) {
  std::string plain = noise(300000) + std::string(300000, 'a');
  ASSERT_TRUE(encode(plain, verity::digest_of(as_bytes(plain)), plain.size()));
  const std::string good = *read_file(AT_FDCWD, path("encoded"), 1 << 20);
  ASSERT_TRUE(check(good, plain));
  std::string changed = good;
  changed[good.size() / 2] ^= 1;
  for (const std::string& bad : {std::string(), good.substr(0, good.size() - 1), good + "x",
                                 good + good, changed, std::string("no zstd")}) {
    EXPECT_EQ(check(bad, plain).error().code, ErrorCode::kDigestMismatch);
  }
  EXPECT_EQ(check(good, plain + "more").error().code, ErrorCode::kDigestMismatch);
  EXPECT_EQ(check(good, plain.substr(0, 100)).error().code, ErrorCode::kDigestMismatch);
}

std::string compress(const std::string& text, int window_log = 0) {
  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  if (window_log > 0) ZSTD_CCtx_setParameter(context.get(), ZSTD_c_windowLog, window_log);
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress2(context.get(), out.data(), out.size(), text.data(), text.size()));
  return out;
}

// Decodes with inputs of at most `piece()` bytes and outputs of at most `buffer()`.
Result<std::string> decode(const std::string& encoded, uint64_t size,
                           const std::function<size_t()>& piece,
                           const std::function<size_t()>& buffer) {
  size_t position = 0;
  ObjectDecoder decoder(
      [&](std::span<std::byte> out) -> Result<size_t> {
        size_t count = std::min({piece(), out.size(), encoded.size() - position});
        std::memcpy(out.data(), encoded.data() + position, count);
        position += count;
        return count;
      },
      size);
  std::string text;
  std::vector<std::byte> out(1 << 20);
  while (size_t count = CFS_TRY(decoder.read(std::span(out).first(buffer())))) {
    text += as_text(Bytes(out).first(count));
  }
  EXPECT_EQ(*decoder.read(out), 0u);  // the end stays the end
  return text;
}

Result<std::string> decode(const std::string& encoded, uint64_t size, size_t piece = 4096,
                           size_t buffer = 4096) {
  return decode(
      encoded, size, [&] { return piece; }, [&] { return buffer; });
}

TEST(ObjectDecoderTest, DecodesInPiecesOfAnySize) {
  const std::string text = noise(200'000) + std::string(100'000, 'a');
  const std::string encoded = compress(text);
  for (size_t piece : {size_t{1}, size_t{1000}, size_t{1} << 20}) {
    for (size_t buffer : {size_t{7}, size_t{4096}, size_t{1} << 20}) {
      Result<std::string> got = decode(encoded, text.size(), piece, buffer);
      ASSERT_TRUE(got) << got.error().describe();
      ASSERT_TRUE(*got == text) << piece << " " << buffer;
    }
  }
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    auto any = [&] { return size_t{1} + random() % (size_t{1} << (random() % 17)); };
    Result<std::string> got = decode(encoded, text.size(), any, any);
    ASSERT_TRUE(got) << got.error().describe();
    ASSERT_TRUE(*got == text);
  }
  EXPECT_EQ(*decode(compress(""), 0, 10, 10), "");
}

TEST(ObjectDecoderTest, RefusesWhatIsNotTheAnnouncedData) {
  const std::string text = noise(300'000);
  const std::string encoded = compress(text);
  auto code = [](const Result<std::string>& result) {
    return result ? ErrorCode::kInternal : result.error().code;
  };
  EXPECT_EQ(code(decode(encoded, text.size() - 1)), ErrorCode::kCorrupt);
  EXPECT_EQ(code(decode(encoded, text.size() + 1)), ErrorCode::kCorrupt);
  for (size_t cut : {size_t{0}, size_t{1}, encoded.size() / 2, encoded.size() - 1}) {
    EXPECT_EQ(code(decode(encoded.substr(0, cut), text.size())), ErrorCode::kCorrupt);
  }
  EXPECT_EQ(code(decode("not zstd at all", 100)), ErrorCode::kCorrupt);
  // A window beyond 8 MiB would let a server decide how much memory we take.
  const std::string large(20 << 20, 'x');
  EXPECT_TRUE(decode(compress(large, 23), large.size(), 1 << 20, 1 << 20));
  EXPECT_EQ(code(decode(compress(large, 24), large.size(), 1 << 20, 1 << 20)), ErrorCode::kCorrupt);
}

TEST(ObjectDecoderTest, ExactlyOneFrame) {
  const std::string text = noise(10'000);
  const std::string encoded = compress(text);
  const std::string skippable("\x50\x2a\x4d\x18\x01\0\0\0x", 9);
  for (size_t piece : {size_t{1}, encoded.size(), size_t{1} << 20}) {
    EXPECT_TRUE(decode(encoded, text.size(), piece));
    EXPECT_FALSE(decode(encoded + "x", text.size(), piece));
    EXPECT_FALSE(decode(encoded + compress(""), text.size(), piece));
    EXPECT_FALSE(decode(encoded + encoded, 2 * text.size(), piece));
    EXPECT_FALSE(decode(encoded + skippable, text.size(), piece));
    EXPECT_FALSE(decode(skippable + encoded, text.size(), piece));
    EXPECT_FALSE(decode(compress("") + encoded, text.size(), piece));
    EXPECT_FALSE(decode(compress("") + compress(""), 0, piece));
  }
  // What comes after the frame is seen before the last bytes of it are handed out.
  const std::string more = encoded + "x";
  size_t position = 0;
  ObjectDecoder decoder(
      [&](std::span<std::byte> out) -> Result<size_t> {
        size_t count = std::min(out.size(), more.size() - position);
        std::memcpy(out.data(), more.data() + position, count);
        position += count;
        return count;
      },
      text.size());
  std::vector<std::byte> out(text.size());
  EXPECT_FALSE(decoder.read(out));
}

}  // namespace
}  // namespace cfs::transport

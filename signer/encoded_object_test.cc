// SPDX-License-Identifier: Apache-2.0
#include "signer/encoded_object.h"

#include <gtest/gtest.h>

#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/verity/merkle.h"

namespace cfs::signer {
namespace {

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
  // Bytes that do not compress well.
  static std::string noise(size_t size) {
    std::string text(size, '\0');
    uint32_t state = 1;
    for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    return text;
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

}  // namespace
}  // namespace cfs::signer

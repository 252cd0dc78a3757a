// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/file_hash.h"

#include <gtest/gtest.h>

namespace cfs::trust {
namespace {

// Of "abc". Spec: FIPS 180-4, examples.
constexpr std::string_view kSha256 =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr std::string_view kSha512 =
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

TEST(FileHashTest, OfEitherAlgorithm) {
  const FileHash sha256 = *verity::Sha256Digest::parse(kSha256);
  const FileHash sha512 = *verity::Sha512Digest::parse(kSha512);
  EXPECT_EQ(sha256.algorithm(), "sha256");
  EXPECT_EQ(sha512.algorithm(), "sha512");
  EXPECT_EQ(sha256.hex(), kSha256);
  EXPECT_EQ(sha512.hex(), kSha512);
  for (const FileHash& hash : {sha256, sha512}) {
    EXPECT_TRUE(hash.matches(as_bytes("abc")));
    EXPECT_FALSE(hash.matches(as_bytes("abd")));
    EXPECT_FALSE(hash.matches({}));
  }
  EXPECT_NE(sha256, sha512);
  EXPECT_NE(sha512, FileHash(verity::Sha512Digest()));
}

}  // namespace
}  // namespace cfs::trust

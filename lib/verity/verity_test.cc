// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <random>

#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/verity/fsverity_judge.h"
#include "lib/verity/kernel.h"
#include "lib/verity/merkle.h"
#include "lib/verity/sha256_blocks.h"

namespace cfs::verity {
namespace {

std::vector<std::byte> pattern(size_t size) {
  std::mt19937 random(static_cast<unsigned>(size));
  std::vector<std::byte> data(size);
  for (std::byte& byte : data) byte = static_cast<std::byte>(random());
  return data;
}

TEST(MerkleHasher, AgreesWithLibfsverityAtEveryBoundary) {
  const size_t block = kBlockSize;
  const size_t level1 = kBlockSize * kHashesPerBlock;
  for (size_t size : {size_t{0}, size_t{1}, block - 1, block, block + 1, 2 * block, level1 - 1,
                      level1, level1 + 1, level1 + block, 3 * level1 + 5, level1 * kHashesPerBlock,
                      level1 * kHashesPerBlock + 1}) {
    std::vector<std::byte> data = pattern(size);
    Judged judged = judged_by_libfsverity(data);
    EXPECT_EQ(digest_of(data).hex(), judged.digest) << size;
    MerkleHasher hasher(TreeBlocks::kKeep);
    hasher.update(data);
    Metadata metadata = hasher.finish_metadata();
    EXPECT_EQ(metadata.digest.hex(), judged.digest) << size;
    EXPECT_TRUE(metadata.tree == judged.tree) << size;
    EXPECT_EQ(to_hex(metadata.descriptor), to_hex(judged.descriptor)) << size;
  }
}

TEST(MerkleHasher, EmptyDataHasTheKernelsDigest) {
  EXPECT_EQ(digest_of({}).hex(),
            "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95");
}

TEST(MerkleHasher, DoesNotDependOnThePiecesAndStartsAnew) {
  std::vector<std::byte> data = pattern(1'000'003);
  Digest whole = digest_of(data);
  std::mt19937 random(1);
  MerkleHasher hasher;
  for (int round = 0; round < 2; ++round) {
    Bytes rest = data;
    while (!rest.empty()) {
      size_t count = std::min<size_t>(rest.size(), random() % 20000);
      hasher.update(rest.first(count));
      rest = rest.subspan(count);
    }
    EXPECT_EQ(hasher.size_bytes(), data.size());
    EXPECT_EQ(hasher.finish(), whole);
  }
}

TEST(MerkleHasher, ZerosCountLikeBytes) {
  std::mt19937 random(2);
  const size_t level1 = kBlockSize * kHashesPerBlock;
  for (int round = 0; round < 60; ++round) {
    MerkleHasher expected;
    MerkleHasher found;
    for (int piece = 0; piece < 4; ++piece) {
      size_t base = std::array{size_t{0}, kBlockSize, level1, 2 * level1,
                               129 * level1}[random() % (round < 4 ? 5 : 4)];
      size_t count = base + random() % std::array{1U, 3U, 5000U, 1'000'000U}[random() % 4];
      if (random() % 2 == 0 && base <= level1) {
        std::vector<std::byte> data = pattern(count);
        expected.update(data);
        found.update(data);
      } else {
        expected.update(std::vector<std::byte>(count));
        found.update_zeros(count);
      }
      EXPECT_EQ(found.size_bytes(), expected.size_bytes());
    }
    EXPECT_EQ(found.finish(), expected.finish()) << round;
  }
  MerkleHasher hasher;
  hasher.update_zeros(uint64_t{1} << 62);
  EXPECT_EQ(hasher.size_bytes(), uint64_t{1} << 62);
  (void)hasher.finish();
}

TEST(MerkleHasher, AnyFlippedByteChangesTheDigest) {
  std::vector<std::byte> data = pattern(3 * kBlockSize + 7);
  Digest whole = digest_of(data);
  for (size_t offset : {size_t{0}, kBlockSize, 3 * kBlockSize + 6}) {
    data[offset] ^= std::byte{1};
    EXPECT_NE(digest_of(data), whole);
    data[offset] ^= std::byte{1};
  }
}

TEST(DigestOfFd, AgreesWithTheFsverityProgram) {
  TemporaryDirectory dir = TemporaryDirectory::create().value();
  std::string path = dir.path() + "/f";
  std::vector<std::byte> data = pattern(777'777);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, data));
  UniqueFd fd = open_at(AT_FDCWD, path, O_RDONLY).value();
  std::string said = run_command({.arguments = {"fsverity", "digest", "--compact", path}}).value();
  EXPECT_EQ(digest_of_fd(fd.get()).value().hex() + "\n", said);
}

const char* name_of(Sha256Method method) {
  switch (method) {
    case Sha256Method::kOneByOne:
      return "one by one (OpenSSL)";
    case Sha256Method::kPairs:
      return "pairs (SHA instructions)";
    case Sha256Method::kSixteen:
      return "sixteen at once (AVX-512)";
  }
  return "";
}

class Sha256Blocks : public testing::TestWithParam<Sha256Method> {};

/// A machine that can run none of the fast ways would leave them untested without a word.
TEST(Sha256BlocksMethods, ThePortableAndAnAcceleratedOneCanBeTestedHere) {
  EXPECT_TRUE(is_supported(Sha256Method::kOneByOne));
#ifdef __x86_64__
  EXPECT_TRUE(is_supported(Sha256Method::kPairs) || is_supported(Sha256Method::kSixteen));
#endif
}

TEST_P(Sha256Blocks, AgreesWithOpenSsl) {
  if (!is_supported(GetParam())) {
    std::printf("NOT RUN on this processor: %s\n", name_of(GetParam()));
    return;
  }
  for (size_t count = 0; count <= 40; ++count) {
    std::vector<std::byte> data = pattern(count * kBlockSize + 1);
    Bytes blocks = Bytes(data).subspan(1);  // not aligned
    std::vector<Sha256Digest> by_method(count);
    std::vector<Sha256Digest> by_choice(count);
    sha256_blocks(blocks, by_method, GetParam());
    sha256_blocks(blocks, by_choice);
    for (size_t i = 0; i < count; ++i) {
      Sha256Digest expected = sha256(blocks.subspan(i * kBlockSize, kBlockSize));
      EXPECT_EQ(by_method[i], expected) << i << " of " << count;
      EXPECT_EQ(by_choice[i], expected) << i << " of " << count;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Every, Sha256Blocks,
                         testing::Values(Sha256Method::kOneByOne, Sha256Method::kPairs,
                                         Sha256Method::kSixteen));

TEST(Sha256Hasher, DoesNotDependOnThePiecesAndStartsAnew) {
  std::vector<std::byte> data = pattern(300'001);
  std::mt19937 random(3);
  Sha256Hasher hasher;
  for (int round = 0; round < 3; ++round) {
    Bytes rest = data;
    while (!rest.empty()) {
      size_t count = std::min<size_t>(rest.size(), random() % 20'000);
      hasher.update(rest.first(count));
      rest = rest.subspan(count);
    }
    EXPECT_EQ(hasher.finish(), sha256(data));
  }
  EXPECT_EQ(hasher.finish(), sha256({}));
}

/// Random input of random size in random pieces; libfsverity is the judge.
TEST(MerkleHasher, RandomInputInRandomPiecesHasTheJudgesDigest) {
  std::mt19937 random(11);
  MerkleHasher hasher;
  for (int round = 0; round < 60; ++round) {
    const size_t largest = size_t{1} << (random() % 22);
    std::vector<std::byte> data = pattern(random() % largest);
    const size_t longest_piece = size_t{1} << (random() % 18);
    Bytes rest = data;
    while (!rest.empty()) {
      size_t count = std::min<size_t>(rest.size(), random() % (longest_piece + 1));
      hasher.update(rest.first(count));
      rest = rest.subspan(count);
    }
    EXPECT_EQ(hasher.finish().hex(), judged_by_libfsverity(data).digest) << data.size();
  }
}

TEST(TreeBlocks, AreAsManyAsTheHasherMakes) {
  const uint64_t level1 = kBlockSize * kHashesPerBlock;
  for (uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{kBlockSize}, uint64_t{kBlockSize + 1},
                        level1, level1 + 1, 3 * level1 + 5}) {
    MerkleHasher hasher(TreeBlocks::kKeep);
    hasher.update(std::vector<std::byte>(size));
    EXPECT_EQ(hasher.finish_metadata().tree.size(), tree_blocks(size) * kBlockSize) << size;
  }
  EXPECT_EQ(tree_blocks(level1 * kHashesPerBlock), kHashesPerBlock + 1U);
  EXPECT_EQ(tree_blocks(UINT64_MAX), tree_blocks(UINT64_MAX - 1));
}

TEST(Digest, IsReadFromItsObjectPathAndNothingElse) {
  const Digest digest = digest_of({});
  const std::string path = digest.object_path();
  EXPECT_EQ(Digest::from_object_path(path), digest);
  std::string upper = path;
  upper[5] = 'A';
  for (const std::string& other :
       {digest.hex(), path.substr(1), path + "0", "/" + path, upper, std::string()}) {
    EXPECT_FALSE(Digest::from_object_path(other)) << other;
  }
}

TEST(Digest, ParsesExactlyItsOwnHex) {
  std::string hex = digest_of({}).hex();
  EXPECT_EQ(Digest::parse(hex)->hex(), hex);
  EXPECT_EQ(Digest::parse(hex)->object_path(), hex.substr(0, 2) + "/" + hex.substr(2));
  EXPECT_FALSE(Digest::parse(hex.substr(1)));
  EXPECT_FALSE(Digest::parse(hex + "0"));
  EXPECT_FALSE(Digest::parse(std::string(64, 'g')));
}

TEST(Measure, AFileWithoutVerityIsNoVerity) {
  UniqueFd fd = open_at(AT_FDCWD, "/proc/self/exe", O_RDONLY).value();
  EXPECT_EQ(measure(fd.get()).error().code, ErrorCode::kNoVerity);
}

}  // namespace
}  // namespace cfs::verity

// SPDX-License-Identifier: Apache-2.0
#include "builder/sources/sparse_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "builder/sources/raw_tar.h"

namespace cfs::builder {
namespace {

using namespace raw_tar;  // NOLINT(google-build-using-namespace)
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Extents = std::vector<TarExtent>;

TEST(SparseMap, HasAMillionExtentsAtMost) {
  Extents extents(kMaxTarSparseExtents - 1);
  EXPECT_TRUE(add_extent({1, 2}, extents));
  EXPECT_EQ(extents.back(), (TarExtent{1, 2}));
  EXPECT_EQ(add_extent({3, 4}, extents).error().message, "has more than 1000000 extents");
  EXPECT_FALSE(add_listed_extents("3,4", extents));
}

TEST(SparseMap, OfGnuEndsWithAnEmptyExtent) {
  auto add = [](const std::vector<std::pair<std::string, std::string>>& list, Extents& extents) {
    std::string bytes = block(gnu_sparse("0", "0", list));
    GnuTarHeader header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    return add_gnu_extents(header.extents, extents);
  };
  Extents extents;
  EXPECT_FALSE(add({{"0", "2"}, {"1000", "3"}}, extents).value()) << "the others are empty";
  EXPECT_THAT(extents, ElementsAre(TarExtent{0, 2}, TarExtent{512, 3}));
  EXPECT_TRUE(add({{"1", "1"}, {"2", "1"}, {"3", "1"}, {"4", "0"}}, extents).value());
  EXPECT_EQ(extents.size(), 6U);
  for (const char* number :
       {"x", "            ", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}) {
    EXPECT_EQ(add({{number, "1"}}, extents).error().message, "has a malformed extent") << number;
    EXPECT_EQ(add({{"0", number}}, extents).error().message, "has a malformed extent") << number;
  }
}

TEST(SparseMap, OfARecordIsAListOfPairs) {
  Extents extents;
  EXPECT_TRUE(add_listed_extents("0,2,512,3", extents));
  EXPECT_TRUE(add_listed_extents("2000,0", extents));
  EXPECT_THAT(extents, ElementsAre(TarExtent{0, 2}, TarExtent{512, 3}, TarExtent{2000, 0}));
  for (const char* text : {"", "1", "1,", "1,2,", "1,2,3", ",", "1,-2", "1, 2", "a,b"}) {
    EXPECT_EQ(add_listed_extents(text, extents).error().message, "is malformed") << text;
  }
}

/// Feeds `text` in blocks; the number of blocks that were taken.
Result<size_t> feed(SparseMapParser& map, const std::string& text) {
  std::string blocks = padded(text);
  for (size_t at = 0; at < blocks.size(); at += kTarBlockBytes) {
    if (CFS_TRY(map.feed(std::string_view(blocks).substr(at, kTarBlockBytes)))) {
      return at / kTarBlockBytes + 1;
    }
  }
  return make_error(ErrorCode::kNotFound, "no end");
}

TEST(SparseMapParser, TakesNoBlockMoreThanTheMapHas) {
  SparseMapParser empty;
  EXPECT_EQ(feed(empty, "0\n" + std::string(1000, 'x')).value(), 1U);
  EXPECT_THAT(empty.take(), IsEmpty());

  SparseMapParser small;
  EXPECT_EQ(feed(small, "2\n0\n2\n512\n3\nwhat is behind it").value(), 1U);
  EXPECT_THAT(small.take(), ElementsAre(TarExtent{0, 2}, TarExtent{512, 3}));

  // A number across two blocks, and one that ends where its block ends.
  std::string text = "128\n";
  Extents expected;
  for (uint64_t i = 0; i < 128; ++i) {
    expected.push_back({1000 + i, 10 + i % 90});
    text += std::to_string(expected.back().offset) + "\n" + std::to_string(expected.back().size);
    text += "\n";
  }
  SparseMapParser large;
  ASSERT_EQ(text.size(), 4 + 128 * 8U);
  EXPECT_EQ(feed(large, text + std::string(1000, 'x')).value(), 3U);
  EXPECT_EQ(large.take(), expected);
  SparseMapParser to_the_end;
  text.replace(0, 4, "127\n");
  text.resize(4 + 127 * 8);
  text.insert(4, "0000");
  ASSERT_EQ(text.size(), 1024U);
  EXPECT_EQ(feed(to_the_end, text + std::string(1000, 'x')).value(), 2U);
}

TEST(SparseMapParser, RefusesWhatIsNoNumber) {
  for (const std::string& text :
       {std::string("x\n"), std::string("\n"), std::string("1\n0\nx\n"), std::string("1\n-1\n"),
        std::string("1\n0\n18446744073709551616\n"), std::string(21, '0')}) {
    SparseMapParser map;
    EXPECT_EQ(feed(map, text).error().message, "has a malformed sparse map") << text;
  }
  SparseMapParser map;
  EXPECT_THAT(feed(map, "1000001\n").error().message, HasSubstr("has 1000001 extents"));
}

TEST(SparseMap, MustFitTheFileAndTheArchive) {
  EXPECT_TRUE(check_sparse_map(Extents{}, 0, 0));
  EXPECT_TRUE(check_sparse_map(Extents{{0, 512}, {1024, 3}, {2000, 0}}, 2000, 515));
  EXPECT_TRUE(check_sparse_map(Extents{{0, 512}, {512, 3}}, 515, 515)) << "nothing lies between";
  EXPECT_TRUE(check_sparse_map(Extents{{0, 0}, {7, 512}, {999, 1}}, 1000, 513));
  EXPECT_TRUE(check_sparse_map(Extents{{kMaxTarHoleBytes, 1}}, kMaxTarHoleBytes + 1, 1));
  struct Case {
    Extents extents;
    uint64_t size_bytes;
    uint64_t stored_bytes;
    const char* message;
  };
  constexpr uint64_t kMost = 9223372036854775807;
  for (const Case& test : std::vector<Case>{
           {{{0, 3}}, 3, 4, "a sparse map of 3 bytes and 4 bytes in the archive"},
           {{{0, 4}}, 9, 4, "ends before the file"},
           {{}, 1, 0, "ends before the file"},
           {{{1ULL << 40, 0}}, 1ULL << 40, 0, "has holes of 1099511627776 bytes"},
           {{{0, 3}, {2, 1}}, 9, 4, "not in order"},
           {{{0, 3}, {512, 1}}, 513, 4, "does not fill its last block"},
           {{{0, 1024}, {2048, 513}, {4096, 0}, {5120, 512}}, 5632, 2049, "fill its last block"},
           {{{0, 4}}, 3, 4, "leads out of the file"},
           {{{4, 0}}, 3, 0, "leads out of the file"},
           {{{kMost, kMost}}, 3, 4, "leads out of the file"},
       }) {
    Result<> checked = check_sparse_map(test.extents, test.size_bytes, test.stored_bytes);
    ASSERT_FALSE(checked) << test.message;
    EXPECT_THAT(checked.error().message, HasSubstr(test.message));
  }
}

}  // namespace
}  // namespace cfs::builder

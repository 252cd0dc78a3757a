// SPDX-License-Identifier: Apache-2.0
#include "lib/base/flat_set.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace cfs {
namespace {

/// Few different hashes, so that values stand in each other's way.
struct CrowdedHash {
  uint64_t operator()(uint32_t value) const { return value % 7 * 9; }
};
using Crowded = FlatSet<uint32_t, UINT32_MAX, CrowdedHash>;

uint32_t* find(Crowded& set, uint32_t value) {
  return set.find(CrowdedHash()(value), [&](uint32_t stored) { return stored == value; });
}

TEST(FlatSet, AnEmptyOneHoldsNothing) {
  Crowded set;
  EXPECT_EQ(set.size(), 0U);
  EXPECT_EQ(find(set, 1), nullptr);
}

TEST(FlatSet, AgreesWithTheStandardLibraryThroughInsertionsAndRemovals) {
  std::mt19937 random(5);
  Crowded set;
  std::set<uint32_t> expected;
  for (int round = 0; round < 20'000; ++round) {
    auto value = static_cast<uint32_t>(random() % 300);
    uint32_t* found = find(set, value);
    ASSERT_EQ(found != nullptr, expected.contains(value)) << value;
    if (found != nullptr) {
      set.erase(found);
      expected.erase(value);
    } else {
      set.insert(CrowdedHash()(value), value);
      expected.insert(value);
    }
    ASSERT_EQ(set.size(), expected.size());
    if (round % 500 == 0) {
      for (uint32_t other = 0; other < 300; ++other) {
        ASSERT_EQ(find(set, other) != nullptr, expected.contains(other)) << other;
      }
    }
  }
}

TEST(FlatSet, GrowsAndKeepsEverything) {
  struct Hash {
    uint64_t operator()(uint32_t value) const { return value * 0x9e3779b97f4a7c15; }
  };
  FlatSet<uint32_t, UINT32_MAX, Hash> set;
  for (uint32_t value = 0; value < 10'000; ++value) set.insert(Hash()(value), value);
  EXPECT_EQ(set.size(), 10'000U);
  for (uint32_t value = 0; value < 10'000; ++value) {
    EXPECT_NE(set.find(Hash()(value), [&](uint32_t stored) { return stored == value; }), nullptr);
  }
}

}  // namespace
}  // namespace cfs

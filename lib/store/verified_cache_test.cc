// SPDX-License-Identifier: Apache-2.0
#include "lib/store/verified_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/verity/merkle.h"

namespace cfs::store {
namespace {

verity::Digest digest_number(int number) {
  return verity::digest_of(as_bytes(std::to_string(number)));
}

class VerifiedCacheTest : public testing::Test {
 protected:
  VerifiedCache load() { return VerifiedCache::load(fd_.get()); }
  std::string content() {
    return read_file(fd_.get(), VerifiedCache::file_name(), 1 << 20).value();
  }
  void overwrite(const std::string& bytes) {
    ASSERT_TRUE(
        write_file_atomically(fd_.get(), VerifiedCache::file_name(), as_bytes(bytes), 0600));
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  UniqueFd fd_ = open_at(AT_FDCWD, directory_.path(), O_RDONLY | O_DIRECTORY).value();
};

TEST_F(VerifiedCacheTest, RemembersAndMatchesTheExactIdentityOnly) {
  const StatIdentity identity{.inode = 1, .size_bytes = 2, .mtime_ns = 3, .ctime_ns = 4};
  {
    VerifiedCache cache = load();
    for (int i = 0; i < 100; ++i) cache.record(digest_number(i), identity);
    EXPECT_TRUE(cache.changed());
    EXPECT_TRUE(cache.matches(digest_number(7), identity));
    ASSERT_TRUE(cache.save(fd_.get()));
    EXPECT_FALSE(cache.changed());
    EXPECT_TRUE(cache.matches(digest_number(7), identity));
  }
  VerifiedCache cache = load();
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(cache.matches(digest_number(i), identity)) << i;
  EXPECT_FALSE(cache.matches(digest_number(100), identity));
  for (uint64_t StatIdentity::*field : {&StatIdentity::inode, &StatIdentity::size_bytes,
                                        &StatIdentity::mtime_ns, &StatIdentity::ctime_ns}) {
    StatIdentity other = identity;
    other.*field += 1;
    EXPECT_FALSE(cache.matches(digest_number(7), other));
  }
}

TEST_F(VerifiedCacheTest, TheNewestRecordOfADigestCounts) {
  VerifiedCache cache = load();
  cache.record(digest_number(1), {.inode = 1});
  ASSERT_TRUE(cache.save(fd_.get()));
  cache.record(digest_number(1), {.inode = 2});
  EXPECT_FALSE(cache.matches(digest_number(1), {.inode = 1}));
  ASSERT_TRUE(cache.save(fd_.get()));
  EXPECT_TRUE(load().matches(digest_number(1), {.inode = 2}));
  EXPECT_FALSE(load().matches(digest_number(1), {.inode = 1}));
}

TEST_F(VerifiedCacheTest, TwoWritersKeepEachOthersEntries) {
  VerifiedCache first = load();
  VerifiedCache second = load();
  first.record(digest_number(1), {.inode = 1});
  second.record(digest_number(2), {.inode = 2});
  ASSERT_TRUE(first.save(fd_.get()));
  ASSERT_TRUE(second.save(fd_.get()));
  VerifiedCache cache = load();
  EXPECT_TRUE(cache.matches(digest_number(1), {.inode = 1}));
  EXPECT_TRUE(cache.matches(digest_number(2), {.inode = 2}));
}

TEST_F(VerifiedCacheTest, ADamagedFileIsIgnoredAndReplaced) {
  VerifiedCache cache = load();
  for (int i = 0; i < 3; ++i) cache.record(digest_number(i), {.inode = 9});
  ASSERT_TRUE(cache.save(fd_.get()));
  const std::string good = content();
  ASSERT_EQ(good.size(), 64U + 3 * 64);
  // Every byte counts, except the reserved ones.
  for (size_t i = 0; i < good.size(); ++i) {
    if (i >= 24 && i < 32) continue;
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    overwrite(bad);
    EXPECT_FALSE(load().matches(digest_number(1), {.inode = 9})) << "byte " << i;
  }
  for (const std::string& bad :
       {std::string(), good.substr(0, 63), good.substr(0, 64), good.substr(0, good.size() - 1),
        good + "x", std::string(1000, '\xff')}) {
    overwrite(bad);
    EXPECT_FALSE(load().matches(digest_number(1), {.inode = 9}));
  }
  VerifiedCache again = load();
  again.record(digest_number(1), {.inode = 9});
  ASSERT_TRUE(again.save(fd_.get()));
  EXPECT_TRUE(load().matches(digest_number(1), {.inode = 9}));
}

TEST_F(VerifiedCacheTest, SomethingThatIsNoFileIsIgnored) {
  ASSERT_EQ(::symlinkat("/etc/passwd", fd_.get(), VerifiedCache::file_name().c_str()), 0);
  EXPECT_FALSE(load().matches(digest_number(1), {}));
  ASSERT_TRUE(remove_file(fd_.get(), VerifiedCache::file_name()));
  ASSERT_EQ(::mkfifoat(fd_.get(), VerifiedCache::file_name().c_str(), 0600), 0);
  EXPECT_FALSE(load().matches(digest_number(1), {}));  // and does not wait for a writer
}

TEST_F(VerifiedCacheTest, WhatSomebodyElseCanHaveWrittenIsIgnoredAndReplaced) {
  VerifiedCache cache = load();
  cache.record(digest_number(1), {.inode = 9});
  ASSERT_TRUE(cache.save(fd_.get()));
  const std::string name = VerifiedCache::file_name();
  auto is_believed = [&] { return load().matches(digest_number(1), {.inode = 9}); };
  EXPECT_TRUE(is_believed());
  // An object of ours moved here: others can read it.
  for (mode_t mode : {0644U, 0660U, 0602U, 0444U}) {
    ASSERT_EQ(::fchmodat(fd_.get(), name.c_str(), mode, 0), 0);
    EXPECT_FALSE(is_believed()) << mode;
  }
  ASSERT_EQ(::fchmodat(fd_.get(), name.c_str(), 0600, 0), 0);
  EXPECT_TRUE(is_believed());
  ASSERT_EQ(::linkat(fd_.get(), name.c_str(), fd_.get(), "another name", 0), 0);
  EXPECT_FALSE(is_believed());
  ASSERT_TRUE(remove_file(fd_.get(), "another name"));
  EXPECT_TRUE(is_believed());
  if (::geteuid() == 0) {
    ASSERT_EQ(::fchownat(fd_.get(), name.c_str(), 12345, 12345, 0), 0);
    EXPECT_FALSE(is_believed());
  } else {
    ASSERT_EQ(::fchmodat(fd_.get(), name.c_str(), 0640, 0), 0);
  }
  VerifiedCache again = load();
  again.record(digest_number(2), {.inode = 9});
  ASSERT_TRUE(again.save(fd_.get()));
  EXPECT_TRUE(load().matches(digest_number(2), {.inode = 9}));
  EXPECT_FALSE(is_believed());
}

TEST(IsRecent, DependsOnTheGranularityOfTheFileSystemsTimes) {
  constexpr uint64_t kSecond = 1'000'000'000;
  StatIdentity fine{.ctime_ns = 100 * kSecond + 1};
  EXPECT_TRUE(is_recent(fine, 100 * kSecond + 10'000'000));
  EXPECT_FALSE(is_recent(fine, 100 * kSecond + 30'000'000));
  EXPECT_TRUE(is_recent(fine, 99 * kSecond));  // the clock was set back
  StatIdentity coarse{.ctime_ns = 100 * kSecond};
  EXPECT_TRUE(is_recent(coarse, 101 * kSecond));
  EXPECT_FALSE(is_recent(coarse, 103 * kSecond));
}

}  // namespace
}  // namespace cfs::store

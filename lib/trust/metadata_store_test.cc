// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/metadata_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "lib/base/io.h"

namespace cfs::trust {
namespace {

TEST(MetadataDirectoryTest, SavesLoadsRemoves) {
  TemporaryDirectory temporary = *TemporaryDirectory::create();
  Result<MetadataDirectory> store =
      MetadataDirectory::open(AT_FDCWD, temporary.path() + "/cfs/trust");
  ASSERT_TRUE(store) << store.error().describe();
  EXPECT_FALSE(store->load("root.json", 100)->has_value());
  ASSERT_TRUE(store->save("root.json", "one"));
  ASSERT_TRUE(store->save("root.json", "second"));
  EXPECT_EQ((*store->load("root.json", 6))->untrusted(), "second");
  EXPECT_EQ(store->load("root.json", 5).error().code, ErrorCode::kCorrupt);
  ASSERT_TRUE(store->remove("root.json"));
  ASSERT_TRUE(store->remove("root.json"));
  EXPECT_FALSE(store->load("root.json", 100)->has_value());
  EXPECT_TRUE(list_directory(AT_FDCWD, temporary.path() + "/cfs/trust")->empty());
}

TEST(MetadataDirectoryTest, RefusesWhatIsNoFile) {
  TemporaryDirectory temporary = *TemporaryDirectory::create();
  MetadataDirectory store = *MetadataDirectory::open(AT_FDCWD, temporary.path());
  ASSERT_TRUE(make_directories(AT_FDCWD, temporary.path() + "/root.json"));
  EXPECT_EQ(store.load("root.json", 100).error().code, ErrorCode::kCorrupt);
  ASSERT_EQ(symlink("/etc/passwd", (temporary.path() + "/targets.json").c_str()), 0);
  EXPECT_EQ(store.load("targets.json", 100000).error().code, ErrorCode::kCorrupt);
  ASSERT_EQ(mkfifo((temporary.path() + "/snapshot.json").c_str(), 0600), 0);
  EXPECT_EQ(store.load("snapshot.json", 100).error().code, ErrorCode::kCorrupt);
}

TEST(MetadataDirectoryTest, WhatIsNoFileIsReplacedAndRemoved) {
  TemporaryDirectory temporary = *TemporaryDirectory::create();
  MetadataDirectory store = *MetadataDirectory::open(AT_FDCWD, temporary.path());
  for (const char* name : {"root.json", "timestamp.json"}) {
    ASSERT_TRUE(make_directories(AT_FDCWD, temporary.path() + "/" + name + "/full/of"));
  }
  Result<> saved = store.save("root.json", "one");
  ASSERT_TRUE(saved) << saved.error().describe();
  EXPECT_EQ((*store.load("root.json", 3))->untrusted(), "one");
  EXPECT_TRUE(store.remove("timestamp.json"));
  EXPECT_EQ(*list_directory(AT_FDCWD, temporary.path()), std::vector<std::string>{"root.json"});
}

}  // namespace
}  // namespace cfs::trust

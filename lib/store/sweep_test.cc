// SPDX-License-Identifier: Apache-2.0
#include "lib/store/sweep.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "lib/base/io.h"
#include "lib/store/object_store.h"

namespace cfs::store {
namespace {

class SweepTest : public testing::Test {
 protected:
  [[nodiscard]] ObjectStore open_store() const {
    return ObjectStore::open(AT_FDCWD, path(""), {.verity = VerityPolicy::kIfSupported}).value();
  }
  [[nodiscard]] std::string path(const std::string& name) const {
    return directory_.path() + "/store/" + name;
  }
  /// Puts `count` objects of 5000 bytes each into the store; returns their digests, sorted.
  std::vector<verity::Digest> fill(unsigned count) {
    ObjectStore store = open_store();
    Batch batch = store.begin().value();
    std::vector<verity::Digest> digests;
    for (unsigned i = 0; i < count; ++i) {
      const std::string content = std::to_string(i) + std::string(5000, 'x');
      digests.push_back(batch.put_bytes(as_bytes(content)).value().digest);
    }
    EXPECT_TRUE(batch.commit());
    std::sort(digests.begin(), digests.end());
    return digests;
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
};

TEST_F(SweepTest, WhatIsKeptStaysAndTheRestGoes) {
  const std::vector<verity::Digest> all = fill(700);  // several in most directories
  std::vector<verity::Digest> keep;
  for (size_t i = 0; i < all.size(); i += 3) keep.push_back(all[i]);
  ObjectStore store = open_store();
  const Removed counted = store.remove_all_but(keep, Removal::kOnlyCount).value();
  EXPECT_EQ(counted.objects, all.size() - keep.size());
  EXPECT_GE(counted.disk_bytes, counted.objects * 5000);
  EXPECT_EQ(store.list().value(), all) << "counting removes nothing";
  EXPECT_EQ(store.remove_all_but(keep, Removal::kRemove).value(), counted);
  EXPECT_EQ(store.list().value(), keep);
  EXPECT_EQ(store.remove_all_but(keep, Removal::kRemove).value(), Removed());
  EXPECT_EQ(store.remove_all_but({}, Removal::kRemove).value().objects, keep.size());
  EXPECT_EQ(store.list().value().size(), 0U);
}

TEST_F(SweepTest, WhatIsNoObjectStays) {
  const verity::Digest object = fill(1).front();
  const std::string folder = object.object_path().substr(0, 2);
  const std::string other(62, folder == "ab" ? 'c' : 'a');
  ASSERT_TRUE(make_directories(AT_FDCWD, directory_.path() + "/elsewhere/" + std::string(2, 'f')));
  auto write = [](const std::string& file) {
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, file, as_bytes("x")));
  };
  const std::string outside = directory_.path() + "/elsewhere/" + std::string(62, 'b');
  write(outside);
  const std::vector<std::string> stay = {folder + "/notes", folder + "/" + std::string(61, 'a'),
                                         folder + "/" + std::string(62, 'A'), "notes",
                                         std::string(64, 'a')};
  for (const std::string& name : stay) write(path(name));
  std::filesystem::create_symlink(outside, path(folder + "/" + other));
  ASSERT_TRUE(make_directories(AT_FDCWD, path(folder + "/" + std::string(62, '9') + "/x")));
  const std::string link = folder == "ff" ? "fe" : "ff";
  std::filesystem::remove(path(link));
  std::filesystem::create_symlink(directory_.path() + "/elsewhere", path(link));
  const std::string file = folder == "ee" ? "ed" : "ee";
  write(path(file));

  ObjectStore store = open_store();
  EXPECT_EQ(store.remove_all_but({}, Removal::kRemove).value().objects, 1U);
  EXPECT_FALSE(std::filesystem::exists(path(object.object_path())));
  for (const std::string& name : stay) EXPECT_TRUE(std::filesystem::exists(path(name))) << name;
  EXPECT_TRUE(std::filesystem::exists(outside));
  EXPECT_TRUE(std::filesystem::is_symlink(path(folder + "/" + other)));
  EXPECT_TRUE(std::filesystem::exists(path(folder + "/" + std::string(62, '9') + "/x")));
  EXPECT_TRUE(std::filesystem::exists(path(file)));
}

TEST_F(SweepTest, NothingIsRemovedWhileSomebodyElseHasTheStoreOpen) {
  fill(3);
  ObjectStore store = open_store();
  {
    ObjectStore reader = open_store();
    EXPECT_EQ(store.remove_all_but({}, Removal::kRemove).error().code, ErrorCode::kBusy);
    EXPECT_EQ(store.remove_all_but({}, Removal::kOnlyCount).value().objects, 3U);
    EXPECT_EQ(store.list().value().size(), 3U);
  }
  EXPECT_EQ(store.remove_all_but({}, Removal::kRemove).value().objects, 3U);
  EXPECT_TRUE(ObjectStore::open(AT_FDCWD, path(""), {})) << "the lock is shared again";
}

TEST_F(SweepTest, WhatDeadBatchesHaveLeftGoes) {
  fill(1);
  const std::string left = path(".cfs/tmp/0123456789abcdef");
  ASSERT_TRUE(make_directories(AT_FDCWD, left));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, left + "/0", as_bytes("half")));
  ObjectStore store = open_store();
  const std::vector<verity::Digest> all = store.list().value();
  ASSERT_TRUE(store.remove_all_but(all, Removal::kOnlyCount));
  EXPECT_TRUE(std::filesystem::exists(left));
  ASSERT_TRUE(store.remove_all_but(all, Removal::kRemove));
  EXPECT_FALSE(std::filesystem::exists(left));
}

}  // namespace
}  // namespace cfs::store

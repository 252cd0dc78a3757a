// SPDX-License-Identifier: Apache-2.0
// The object store on a file system that has fs-verity. Run by store_verity.py in a guest, with
// TMPDIR on such a file system.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/io.h"
#include "lib/store/object_store.h"
#include "lib/verity/kernel.h"
#include "lib/verity/merkle.h"

namespace cfs::store {
namespace {

using testing::ElementsAre;

class StoreWithVerity : public testing::Test {
 protected:
  ObjectStore open_store(VerityPolicy policy) {
    mode_t mode = policy == VerityPolicy::kRequired ? 0444 : 0644;
    return ObjectStore::open(AT_FDCWD, path_, {.verity = policy, .object_mode = mode}).value();
  }
  void put(VerityPolicy policy, const std::string& content) {
    ObjectStore store = open_store(policy);
    Batch batch = store.begin().value();
    ASSERT_TRUE(batch.put_bytes(as_bytes(content)));
    Result<> committed = batch.commit();
    ASSERT_TRUE(committed) << committed.error().describe();
  }
  std::string object_path(const verity::Digest& digest) {
    return path_ + "/" + digest.object_path();
  }
  Result<verity::Digest> measured(const verity::Digest& digest) {
    UniqueFd fd = open_at(AT_FDCWD, object_path(digest), O_RDONLY).value();
    return verity::measure(fd.get());
  }
  /// Puts a file of our own under an object's name.
  void place(const verity::Digest& digest, const std::string& content) {
    std::string path = object_path(digest);
    ASSERT_TRUE(make_directories(AT_FDCWD, path.substr(0, path.rfind('/'))));
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, path, as_bytes(content)));
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
  std::string path_ = directory_.path() + "/store";
};

const std::string kContent(10'000, 'c');
const verity::Digest kDigest = verity::digest_of(as_bytes(kContent));

TEST_F(StoreWithVerity, EveryObjectGetsItUnlessItIsForLater) {
  for (VerityPolicy policy : {VerityPolicy::kIfSupported, VerityPolicy::kRequired}) {
    ASSERT_TRUE(remove_tree(AT_FDCWD, path_));
    ObjectStore store = open_store(policy);
    Batch batch = store.begin().value();
    std::vector<verity::Digest> digests;
    for (size_t size :
         {size_t{0}, size_t{1}, size_t{4096}, size_t{4097}, size_t{600'000}, size_t{3'000'000}}) {
      std::string content(size, 'x');
      digests.push_back(batch.put_bytes(as_bytes(content)).value().digest);
    }
    ASSERT_TRUE(batch.commit());
    for (const verity::Digest& digest : digests) {
      EXPECT_EQ(measured(digest).value(), digest);
      EXPECT_TRUE(store.contains(digest).value());
      EXPECT_TRUE(store.open_object(digest));
    }
  }
  ASSERT_TRUE(remove_tree(AT_FDCWD, path_));
  put(VerityPolicy::kOffline, kContent);
  EXPECT_EQ(measured(kDigest).error().code, ErrorCode::kNoVerity);
}

TEST_F(StoreWithVerity, FilesAreCopiedToo) {
  std::string content(5'000'000, 'f');
  std::string source = directory_.path() + "/source";
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, source, as_bytes(content)));
  UniqueFd fd = open_at(AT_FDCWD, source, O_RDONLY).value();
  ObjectStore store = open_store(VerityPolicy::kRequired);
  Batch batch = store.begin().value();
  FileDigest object = batch.put_file(fd.get(), fstat_fd(fd.get()).value()).value();
  ASSERT_TRUE(batch.commit());
  EXPECT_EQ(measured(object.digest).value(), verity::digest_of(as_bytes(content)));
}

TEST_F(StoreWithVerity, RequiredMeansThatAPlainFileIsNoObject) {
  place(kDigest, kContent);
  ObjectStore build = open_store(VerityPolicy::kIfSupported);
  EXPECT_TRUE(build.contains(kDigest).value());
  ObjectStore device = open_store(VerityPolicy::kRequired);
  EXPECT_FALSE(device.contains(kDigest).value());
  EXPECT_EQ(device.open_object(kDigest).error().code, ErrorCode::kNoVerity);
  put(VerityPolicy::kRequired, kContent);
  EXPECT_EQ(measured(kDigest).value(), kDigest);
  EXPECT_TRUE(device.open_object(kDigest));
  EXPECT_EQ(stat_at(AT_FDCWD, object_path(kDigest), 0).value().st_mode & 0777, 0444U);
}

TEST_F(StoreWithVerity, AVerityFileUnderAnotherNameIsReplaced) {
  place(kDigest, "other content");
  UniqueFd wrong = open_at(AT_FDCWD, object_path(kDigest), O_RDONLY).value();
  ASSERT_TRUE(verity::enable(wrong.get()));
  for (VerityPolicy policy : {VerityPolicy::kIfSupported, VerityPolicy::kRequired}) {
    ObjectStore store = open_store(policy);
    EXPECT_FALSE(store.contains(kDigest).value());
    EXPECT_EQ(store.open_object(kDigest).error().code, ErrorCode::kDigestMismatch);
  }
  put(VerityPolicy::kRequired, kContent);
  EXPECT_EQ(measured(kDigest).value(), kDigest);
}

TEST_F(StoreWithVerity, MeasuringNeedsNoCache) {
  put(VerityPolicy::kIfSupported, kContent);
  ::usleep(50'000);
  EXPECT_TRUE(open_store(VerityPolicy::kIfSupported).contains(kDigest).value());
  EXPECT_THAT(list_directory(AT_FDCWD, path_ + "/.cfs").value(), ElementsAre("tmp"));
}

}  // namespace
}  // namespace cfs::store

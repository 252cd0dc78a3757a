// SPDX-License-Identifier: Apache-2.0
#include "signer/signing/key_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/io.h"
#include "signer/signing/file_key.h"

namespace cfs::signer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using trust::Role;

class KeyDirectoryTest : public ::testing::Test {
 protected:
  FileKey make(const std::string& file) {
    FileKey key = *FileKey::generate();
    EXPECT_TRUE(key.save_new(AT_FDCWD, path_ + "/" + file));
    return key;
  }
  std::vector<std::string> names(Role role) {
    std::vector<std::string> names;
    const Signers signers = *keys_.load(role);
    for (const auto& signer : signers) {
      names.push_back(signer->name().substr(path_.size() + 1));
    }
    return names;
  }
  static trust::RootMetadata root(Role role, const std::vector<const FileKey*>& keys,
                                  uint64_t threshold) {
    trust::RootMetadata root;
    root.roles[role].threshold = threshold;
    for (const FileKey* key : keys) root.roles[role].key_ids.insert(key->public_key().id());
    return root;
  }

  TemporaryDirectory directory_ = *TemporaryDirectory::create();
  std::string path_ = directory_.path();
  KeyDirectory keys_{path_};
};

TEST_F(KeyDirectoryTest, AllKeysOfARole) {
  EXPECT_THAT(names(Role::kRoot), IsEmpty());
  EXPECT_THAT(*KeyDirectory(path_ + "/nowhere").load(Role::kRoot), IsEmpty());
  make("root.pem");
  make("root.second.pem");
  make("rooted.pem");
  make("targets.pem");
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path_ + "/root.txt", as_bytes("no key")));
  EXPECT_THAT(names(Role::kRoot), ElementsAre("root.pem", "root.second.pem"));
  EXPECT_THAT(names(Role::kTargets), ElementsAre("targets.pem"));
  // A copy is no second signer.
  std::string key = *read_file(AT_FDCWD, path_ + "/root.pem", 1000);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path_ + "/root.copy.pem", as_bytes(key), 0600));
  EXPECT_THAT(names(Role::kRoot), ElementsAre("root.copy.pem", "root.second.pem"));
  // A key that cannot be used is no key that is not there.
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path_ + "/root.bad.pem", as_bytes("bad"), 0600));
  EXPECT_EQ(keys_.load(Role::kRoot).error().code, ErrorCode::kInvalidInput);
}

TEST_F(KeyDirectoryTest, KeysThatDevicesAccept) {
  FileKey first = make("targets.pem");
  FileKey second = make("targets.2.pem");
  FileKey other = *FileKey::generate();
  EXPECT_EQ(keys_.load_accepted(Role::kTargets, root(Role::kTargets, {&first}, 1))->size(), 1u);
  EXPECT_EQ(keys_.load_enough(Role::kTargets, root(Role::kTargets, {&first, &second}, 2))->size(),
            2u);

  Result<Signers> none = keys_.load_accepted(Role::kTargets, root(Role::kTargets, {&other}, 1));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kSignature);
  EXPECT_THAT(none.error().message, HasSubstr("is not this repository's targets key"));

  trust::RootMetadata two = root(Role::kTargets, {&first, &other}, 2);
  EXPECT_EQ(keys_.load_accepted(Role::kTargets, two)->size(), 1u);
  Result<Signers> few = keys_.load_enough(Role::kTargets, two);
  ASSERT_FALSE(few);
  EXPECT_EQ(few.error().code, ErrorCode::kSignature);
  EXPECT_EQ(few.error().message,
            "targets.json needs signatures by 2 keys, of which '" + path_ + "' has 1");

  Result<Signers> missing = keys_.load_accepted(Role::kRoot, root(Role::kRoot, {&first}, 1));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(missing.error().message, "there is no key '" + path_ + "/root.pem'");
}

TEST_F(KeyDirectoryTest, MakesWhatIsMissing) {
  make("root.pem");
  KeyDirectory keys(path_);
  EXPECT_THAT(*keys.create_missing(), ElementsAre(path_ + "/timestamp.pem", path_ + "/snapshot.pem",
                                                  path_ + "/targets.pem"));
  EXPECT_THAT(*keys.create_missing(), IsEmpty());
}

// Every signer of a document signs the same bytes; a document has any number of signatures.
TEST_F(KeyDirectoryTest, DocumentsAreSignedByEveryKey) {
  FileKey first = make("targets.pem");
  make("targets.2.pem");
  make("targets.3.pem");
  trust::TargetsMetadata targets;
  targets.version = 1;
  Signers signers = *keys_.load(Role::kTargets);
  trust::SignedDocument document = *trust::parse_document(
      Role::kTargets, *sign_document(Role::kTargets, trust::to_json(targets), signers));
  ASSERT_EQ(document.signatures.size(), 3u);
  trust::RootMetadata all;
  for (const auto& signer : signers) {
    all.keys.emplace(signer->public_key().id(), signer->public_key());
    all.roles[Role::kTargets].key_ids.insert(signer->public_key().id());
  }
  all.roles[Role::kTargets].threshold = 3;
  EXPECT_TRUE(trust::check_signatures(all, document));
  EXPECT_TRUE(is_signed_by_one_of(signers, document));
  EXPECT_FALSE(is_signed_by_one_of({}, document));
  document.content = trust::to_json(trust::TargetsMetadata());
  EXPECT_FALSE(is_signed_by_one_of(signers, document));
}

}  // namespace
}  // namespace cfs::signer

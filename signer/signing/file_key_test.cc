// SPDX-License-Identifier: Apache-2.0
#include "signer/signing/file_key.h"

#include <gtest/gtest.h>

#include "lib/base/atomic_file.h"
#include "lib/base/io.h"
#include "lib/base/subprocess.h"

namespace cfs::signer {
namespace {

class KeyFileTest : public ::testing::Test {
 protected:
  TemporaryDirectory directory_ = *TemporaryDirectory::create();
  std::string path_ = directory_.path() + "/key.pem";
};

TEST_F(KeyFileTest, SavedKeysLoadAgain) {
  FileKey key = *FileKey::generate();
  ASSERT_TRUE(key.save_new(AT_FDCWD, path_));
  EXPECT_EQ(stat_at(AT_FDCWD, path_, 0)->st_mode & 07777u, 0600u);
  EXPECT_EQ(stat_at(AT_FDCWD, path_ + ".pub", 0)->st_mode & 07777u, 0644u);
  EXPECT_EQ(list_directory(AT_FDCWD, directory_.path())->size(), 2u);
  Result<FileKey> loaded = FileKey::load(AT_FDCWD, path_);
  ASSERT_TRUE(loaded) << loaded.error().describe();
  EXPECT_EQ(loaded->public_key(), key.public_key());
  std::vector<std::byte> signature = *loaded->sign(as_bytes("message"));
  EXPECT_TRUE(key.public_key().verifies(as_bytes("message"), signature));
  EXPECT_FALSE(key.public_key().verifies(as_bytes("messagE"), signature));
}

TEST_F(KeyFileTest, OpensslVerifiesOurSignature) {
  FileKey key = *FileKey::generate();
  ASSERT_TRUE(key.save_new(AT_FDCWD, path_));
  const std::string message = directory_.path() + "/message";
  const std::string signature = directory_.path() + "/signature";
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, message, as_bytes("the message")));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, signature, *key.sign(as_bytes("the message"))));
  Command verify{.arguments = {"openssl", "pkeyutl", "-verify", "-pubin", "-inkey", path_ + ".pub",
                               "-rawin", "-in", message, "-sigfile", signature}};
  Result<std::string> verdict = run_command(verify);
  ASSERT_TRUE(verdict) << verdict.error().describe();
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, message, as_bytes("another message")));
  EXPECT_FALSE(run_command(verify));
  // And it reads the private key as an ordinary PKCS#8 file.
  EXPECT_TRUE(run_command({.arguments = {"openssl", "pkey", "-in", path_, "-noout"}}));
}

TEST_F(KeyFileTest, NothingIsOverwritten) {
  FileKey key = *FileKey::generate();
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path_, as_bytes("precious")));
  EXPECT_EQ(key.save_new(AT_FDCWD, path_).error().code, ErrorCode::kExists);
  EXPECT_EQ(*read_file(AT_FDCWD, path_, 100), "precious");
  ASSERT_TRUE(remove_file(AT_FDCWD, path_));
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path_ + ".pub", as_bytes("precious")));
  EXPECT_EQ(key.save_new(AT_FDCWD, path_).error().code, ErrorCode::kExists);
  EXPECT_EQ(*read_file(AT_FDCWD, path_ + ".pub", 100), "precious");
  EXPECT_EQ(list_directory(AT_FDCWD, directory_.path())->size(), 1u);
}

TEST_F(KeyFileTest, OtherFilesAreRefused) {
  EXPECT_EQ(FileKey::load(AT_FDCWD, path_).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path_, as_bytes("no key"), 0600));
  EXPECT_EQ(FileKey::load(AT_FDCWD, path_).error().code, ErrorCode::kInvalidInput);
  for (std::vector<std::string> options :
       {std::vector<std::string>{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
        std::vector<std::string>{"-algorithm", "X25519"},
        std::vector<std::string>{"-algorithm", "ED25519", "-aes256", "-pass", "pass:x"}}) {
    Command make{.arguments = {"openssl", "genpkey", "-out", path_}};
    make.arguments.insert(make.arguments.end(), options.begin(), options.end());
    ASSERT_TRUE(run_command(make));
    EXPECT_EQ(FileKey::load(AT_FDCWD, path_).error().code, ErrorCode::kInvalidInput);
  }
  ASSERT_TRUE(
      run_command({.arguments = {"openssl", "genpkey", "-algorithm", "ED25519", "-out", path_}}));
  EXPECT_TRUE(FileKey::load(AT_FDCWD, path_));
}

TEST_F(KeyFileTest, KeysThatAreOpenToOthersAreRefused) {
  ASSERT_TRUE(FileKey::generate()->save_new(AT_FDCWD, path_));
  for (mode_t mode : {0644U, 0640U, 0604U, 0620U, 0602U, 0601U}) {
    ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
    Result<FileKey> refused = FileKey::load(AT_FDCWD, path_);
    ASSERT_FALSE(refused) << mode;
    EXPECT_EQ(refused.error().code, ErrorCode::kPermission) << mode;
    EXPECT_EQ(refused.error().hint.substr(0, 15), "run 'chmod 600 ");
  }
  ASSERT_EQ(::chmod(path_.c_str(), 0400), 0);
  EXPECT_TRUE(FileKey::load(AT_FDCWD, path_));
}

// Whoever made the file knows the key.
TEST_F(KeyFileTest, KeysOfSomebodyElseAreRefused) {
  std::string foreign = "/etc/passwd";
  if (::geteuid() == 0) {
    ASSERT_TRUE(FileKey::generate()->save_new(AT_FDCWD, path_));
    ASSERT_EQ(::chown(path_.c_str(), 12345, 12345), 0);
    foreign = path_;
  }
  Result<FileKey> refused = FileKey::load(AT_FDCWD, foreign);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kPermission);
  EXPECT_NE(refused.error().message.find("belongs to another user"), std::string::npos);
}

}  // namespace
}  // namespace cfs::signer

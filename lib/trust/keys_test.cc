// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/atomic_file.h"
#include "lib/base/hex.h"
#include "lib/base/io.h"
#include "lib/base/subprocess.h"
#include "lib/trust/fake_repository.h"

namespace cfs::trust {
namespace {

using json::Value;
using ::testing::HasSubstr;

PublicKey ed25519_key(std::string_view hex) {
  std::array<std::byte, 32> bytes{};
  EXPECT_TRUE(from_hex(hex, bytes));
  return *PublicKey::from_ed25519(bytes);
}

std::vector<std::byte> bytes_of(std::string_view hex) {
  std::vector<std::byte> bytes(hex.size() / 2);
  EXPECT_TRUE(from_hex(hex, bytes));
  return bytes;
}

Result<PublicKey> parse(const Value& object) {
  return PublicKey::parse(json::Reader(object, "key"));
}

Value key_object(const char* type, const char* scheme, const std::string& text) {
  return Value::Object{
      {"keytype", type}, {"keyval", Value::Object{{"public", text}}}, {"scheme", scheme}};
}

// RFC 8032 §7.1, tests 1 and 3.
TEST(KeysTest, RfcVectorsOfEd25519) {
  PublicKey key1 = ed25519_key("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  EXPECT_TRUE(key1.verifies(
      {}, bytes_of("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a"
                   "33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b")));
  PublicKey key3 = ed25519_key("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
  std::vector<std::byte> signature3 = bytes_of(
      "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d1"
      "6f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a");
  EXPECT_TRUE(key3.verifies(as_bytes("\xaf\x82"), signature3));
  EXPECT_FALSE(key3.verifies(as_bytes("\xaf\x83"), signature3));
  EXPECT_FALSE(key1.verifies(as_bytes("\xaf\x82"), signature3));
}

// The keys of the example root.json in TUF 1.0.34 §4.3: our signing form is that of others.
TEST(KeysTest, KeyIdsOfTheSpecificationsExample) {
  const std::pair<const char*, const char*> examples[] = {
      {"1bf1c6e3cdd3d3a8420b19199e27511999850f4b376c4547b2f32fba7e80fca3",
       "72378e5bc588793e58f81c8533da64a2e8f1565c1fcc7f253496394ffc52542c"},
      {"135c2f50e57ff11e744d234a62cebad8c38daf399604a7655661cc9199c69164",
       "68ead6e54a43f8f36f9717b10669d1ef0ebb38cee6b05317669341309f1069cb"},
      {"cb3fbd83df4ba2471a736b065650878280964a98843ec13b457a99b2a21cc3b4",
       "66dd78c5c2a78abc6fc6b267ff1a8017ba0e8bfc853dd97af351949bba021275"},
      {"66676daa73bdfb4804b56070c8927ae491e2a6c2314f05b854dea94de8ff6bfc",
       "01c61f8dc7d77fcef973f4267927541e355e8ceda757e2c402818dad850f856e"},
  };
  for (const auto& [id, key] : examples) EXPECT_EQ(ed25519_key(key).id(), id);
}

// Each type: what its own key signed, with every byte of the signature changed in turn.
TEST(KeysTest, EveryTypeVerifiesItsOwnSignaturesAndNothingElse) {
  const std::vector<FakeKey> keys = {FakeKey(1), FakeKey::generate_ecdsa(), FakeKey::generate_rsa(),
                                     FakeKey::generate_rsa(4096)};
  const std::string message = "the message";
  for (const FakeKey& key : keys) {
    const std::vector<std::byte> signature = key.sign(message);
    EXPECT_TRUE(key.public_key().verifies(as_bytes(message), signature));
    EXPECT_FALSE(key.public_key().verifies(as_bytes("the messagE"), signature));
    for (size_t i = 0; i < signature.size(); ++i) {
      std::vector<std::byte> changed = signature;
      changed[i] ^= std::byte{1};
      ASSERT_FALSE(key.public_key().verifies(as_bytes(message), changed)) << i;
    }
    for (size_t length : {size_t{0}, size_t{1}, signature.size() - 1}) {
      EXPECT_FALSE(key.public_key().verifies(as_bytes(message), Bytes(signature).first(length)));
    }
    std::vector<std::byte> longer = signature;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(key.public_key().verifies(as_bytes(message), longer));
    for (const FakeKey& other : keys) {
      EXPECT_EQ(other.public_key().verifies(as_bytes(message), signature), &other == &key);
      EXPECT_EQ(other.public_key() == key.public_key(), &other == &key);
    }
    // The object that others write is the object that we read.
    Result<PublicKey> parsed = parse(key.object());
    ASSERT_TRUE(parsed) << parsed.error().describe();
    EXPECT_EQ(parsed->id(), key.id());
    EXPECT_EQ(*parsed, key.public_key());
  }
}

// The program openssl makes keys and signatures; salts of RSA-PSS of any length.
TEST(KeysTest, VerifiesWhatOpensslSigned) {
  TemporaryDirectory directory = *TemporaryDirectory::create();
  auto path = [&](const char* name) { return directory.path() + "/" + name; };
  ASSERT_TRUE(write_file_atomically(AT_FDCWD, path("message"), as_bytes("the message")));
  auto check = [&](const char* type, const char* scheme, std::vector<std::string> make,
                   const std::vector<std::string>& sign_options) {
    make.insert(make.begin(), {"openssl", "genpkey", "-out", path("key")});
    ASSERT_TRUE(run_command({.arguments = make}));
    std::string pem =
        *run_command({.arguments = {"openssl", "pkey", "-in", path("key"), "-pubout"}});
    Command sign{.arguments = {"openssl", "dgst", "-sha256", "-sign", path("key"), "-out",
                               path("signature")}};
    sign.arguments.insert(sign.arguments.end(), sign_options.begin(), sign_options.end());
    sign.arguments.push_back(path("message"));
    ASSERT_TRUE(run_command(sign));
    Result<PublicKey> key = parse(key_object(type, scheme, pem));
    ASSERT_TRUE(key) << key.error().describe();
    std::string signature = *read_file(AT_FDCWD, path("signature"), 4096);
    EXPECT_TRUE(key->verifies(as_bytes("the message"), as_bytes(signature)));
    EXPECT_FALSE(key->verifies(as_bytes("the messagE"), as_bytes(signature)));
  };
  const std::vector<std::string> rsa = {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"};
  for (const char* salt : {"digest", "max", "0"}) {
    check("rsa", "rsassa-pss-sha256", rsa,
          {"-sigopt", "rsa_padding_mode:pss", "-sigopt", std::string("rsa_pss_saltlen:") + salt});
  }
  check("ecdsa", "ecdsa-sha2-nistp256", {"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
        {});
}

// One key of the curve, its point written in two ways: two ids, and still one key.
TEST(KeysTest, OneKeyInTwoEncodingsIsOneKey) {
  TemporaryDirectory directory = *TemporaryDirectory::create();
  const std::string path = directory.path() + "/key";
  ASSERT_TRUE(run_command({.arguments = {"openssl", "genpkey", "-algorithm", "EC", "-pkeyopt",
                                         "ec_paramgen_curve:P-256", "-out", path}}));
  auto key = [&](const char* form) {
    std::string pem = *run_command(
        {.arguments = {"openssl", "pkey", "-in", path, "-pubout", "-ec_conv_form", form}});
    return *parse(key_object("ecdsa", "ecdsa-sha2-nistp256", pem));
  };
  EXPECT_NE(key("compressed").id(), key("uncompressed").id());
  EXPECT_EQ(key("compressed"), key("uncompressed"));
}

TEST(KeysTest, WhatIsNoKey) {
  auto code = [](const char* type, const char* scheme, const std::string& text) {
    Result<PublicKey> key = parse(key_object(type, scheme, text));
    return key ? ErrorCode::kNothingToDo : key.error().code;
  };
  const std::string hex(64, 'a');
  auto pem_of = [](const FakeKey& key) {
    return *key.object()
                .as<Value::Object>()
                ->at("keyval")
                .as<Value::Object>()
                ->at("public")
                .as<std::string>();
  };
  const std::string ecdsa = pem_of(FakeKey::generate_ecdsa());
  const std::string rsa = pem_of(FakeKey::generate_rsa());
  EXPECT_EQ(code("ed25519", "ed25519", hex), ErrorCode::kNothingToDo);
  EXPECT_EQ(code("ed25519", "ed25519", hex + "a"), ErrorCode::kCorrupt);
  EXPECT_EQ(code("ed25519", "ed25519", ""), ErrorCode::kCorrupt);
  EXPECT_EQ(code("ed25519", "ecdsa-sha2-nistp256", hex), ErrorCode::kUnsupported);
  EXPECT_EQ(code("ecdsa", "ecdsa-sha2-nistp384", ecdsa), ErrorCode::kUnsupported);
  EXPECT_EQ(code("ecdsa", "ecdsa-sha2-nistp256", ecdsa), ErrorCode::kNothingToDo);
  EXPECT_EQ(code("ecdsa", "ecdsa-sha2-nistp256", rsa), ErrorCode::kCorrupt);
  EXPECT_EQ(code("ecdsa", "ecdsa-sha2-nistp256", hex), ErrorCode::kCorrupt);
  EXPECT_EQ(code("ecdsa", "ecdsa-sha2-nistp256", ecdsa.substr(0, 100)), ErrorCode::kCorrupt);
  EXPECT_EQ(code("rsa", "rsassa-pss-sha256", ecdsa), ErrorCode::kCorrupt);
  EXPECT_EQ(code("rsa", "rsa-pkcs1v15-sha256", rsa), ErrorCode::kUnsupported);
  TemporaryDirectory directory = *TemporaryDirectory::create();
  auto made_by_openssl = [&](const std::vector<std::string>& options) {
    Command make{.arguments = {"openssl", "genpkey", "-out", directory.path() + "/key"}};
    make.arguments.insert(make.arguments.end(), options.begin(), options.end());
    EXPECT_TRUE(run_command(make));
    return *run_command(
        {.arguments = {"openssl", "pkey", "-in", directory.path() + "/key", "-pubout"}});
  };
  EXPECT_EQ(code("rsa", "rsassa-pss-sha256",
                 made_by_openssl({"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"})),
            ErrorCode::kCorrupt);
  EXPECT_EQ(code("ecdsa", "ecdsa-sha2-nistp256",
                 made_by_openssl({"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"})),
            ErrorCode::kCorrupt);
  EXPECT_THAT(parse(key_object("dsa", "dsa-sha1", hex)).error().message,
              HasSubstr("type 'dsa' with scheme 'dsa-sha1'"));
}

}  // namespace
}  // namespace cfs::trust

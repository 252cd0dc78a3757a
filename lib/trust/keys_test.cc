// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/keys.h"

#include <gtest/gtest.h>

#include "lib/base/hex.h"

namespace cfs::trust {
namespace {

PublicKey public_key(std::string_view hex) {
  PublicKey key;
  EXPECT_TRUE(from_hex(hex, key.bytes));
  return key;
}

// RFC 8032 §7.1, tests 1 and 3.
TEST(KeysTest, RfcVectors) {
  PublicKey key1 = public_key("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  SignatureBytes signature1;
  ASSERT_TRUE(
      from_hex("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a"
               "33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
               signature1));
  EXPECT_TRUE(signature_is_valid(key1, {}, signature1));
  PublicKey key3 = public_key("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
  SignatureBytes signature3;
  ASSERT_TRUE(
      from_hex("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d1"
               "6f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
               signature3));
  EXPECT_TRUE(signature_is_valid(key3, as_bytes("\xaf\x82"), signature3));
  EXPECT_FALSE(signature_is_valid(key3, as_bytes("\xaf\x83"), signature3));
  EXPECT_FALSE(signature_is_valid(key1, as_bytes("\xaf\x82"), signature3));
  for (size_t i : {size_t{0}, size_t{31}, size_t{32}, size_t{63}}) {
    SignatureBytes changed = signature3;
    changed[i] ^= std::byte{1};
    EXPECT_FALSE(signature_is_valid(key3, as_bytes("\xaf\x82"), changed));
  }
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
  for (const auto& [id, key] : examples) EXPECT_EQ(key_id(to_key_object(public_key(key))), id);
}

}  // namespace
}  // namespace cfs::trust

// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/json/canonical.h"
#include "lib/json/reader.h"
#include "lib/trust/fake_repository.h"

namespace cfs::trust {
namespace {

using json::Value;

SignedDocument document(Role role, const Value& content) {
  return *parse_document(role, FakeRepository::sign(content, {FakeKey(1), FakeKey(2)}));
}

// What is read is written again, what we cannot use included.
TEST(MetadataTest, ContentsAreWrittenAsTheyWereRead) {
  FakeRepository repository;
  repository.roles["root"].keys.push_back(FakeKey::generate_ecdsa());
  repository.roles["targets"].threshold = 9;
  Value::Object root = repository.root_content();
  (*root["keys"].as<Value::Object>())["abc"] = Value::Object{{"keytype", "other"}};
  EXPECT_EQ(Value(to_json(*parse_root(document(Role::kRoot, root)))), Value(root));

  repository.add_target("file", "content", Value::Object{{"k", Value::Array{1, Value(), true}}});
  repository.add_target("no name", "content");
  Value::Object targets = repository.common("targets");
  targets["targets"] = repository.targets;
  EXPECT_EQ(Value(to_json(*parse_targets(document(Role::kTargets, targets)))), Value(targets));

  for (bool hashes : {true, false}) {
    repository.hashes_in_meta = hashes;
    repository.publish();
    SignedDocument snapshot =
        *parse_document(Role::kSnapshot, repository.files["metadata/1.snapshot.json"]);
    EXPECT_EQ(Value(to_json(*parse_snapshot(snapshot))), snapshot.content);
    SignedDocument timestamp =
        *parse_document(Role::kTimestamp, repository.files["metadata/timestamp.json"]);
    EXPECT_EQ(Value(to_json(*parse_timestamp(timestamp))), timestamp.content);
    EXPECT_EQ(serialise_document(timestamp), repository.files["metadata/timestamp.json"]);
  }
}

TEST(MetadataTest, ChangesKeepWhatWeDoNotKnow) {
  FakeRepository repository;
  repository.add_target("a", "1");
  repository.add_target("b", "2");
  Value::Object targets = repository.common("targets");
  targets["delegations"] = Value::Object{{"keys", Value::Object{}}, {"roles", Value::Array{}}};
  (*repository.targets["a"].as<Value::Object>())["note"] = "kept";
  targets["targets"] = repository.targets;
  Value content = targets;
  set_version(content, {.version = 7, .expires = 86400});
  set_target(content, {"b", 5, verity::Sha256Digest(), {}});
  set_target(content, {"c", 6, verity::Sha256Digest(), Value::Object{{"x", 1}}});
  const std::string zeros(64, '0');
  EXPECT_EQ(
      json::to_canonical(content),
      R"({"_type":"targets","delegations":{"keys":{},"roles":[]},"expires":"1970-01-02T00:00:00Z",)"
      R"("spec_version":"1.0.34","targets":{"a":{"hashes":{"sha256":")" +
          verity::sha256(as_bytes("1")).hex() +
          R"("},"length":1,"note":"kept"},"b":{"hashes":{"sha256":")" + zeros +
          R"("},"length":5},"c":{"custom":{"x":1},"hashes":{"sha256":")" + zeros +
          R"("},"length":6}},"version":7})");
}

TEST(MetadataTest, ADocumentHasAnyNumberOfSignatures) {
  Value content = FakeRepository().common("targets");
  std::vector<FakeKey> keys;
  for (uint8_t seed = 1; seed <= 64; ++seed) keys.emplace_back(seed);
  EXPECT_EQ(parse_document(Role::kTargets, FakeRepository::sign(content, keys))->signatures.size(),
            64u);
  EXPECT_EQ(parse_document(Role::kTargets, FakeRepository::sign(content, {}))->signatures.size(),
            0u);
  keys.emplace_back(uint8_t{65});
  EXPECT_FALSE(parse_document(Role::kTargets, FakeRepository::sign(content, keys)));
}

}  // namespace
}  // namespace cfs::trust

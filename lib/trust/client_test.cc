// SPDX-License-Identifier: Apache-2.0
// The attacks of TUF 1.0.34 §1.5.2, one by one, against a repository in memory; the attacker owns
// the repository and the network, and the keys that a test gives him.
#include "lib/trust/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/json/canonical.h"
#include "lib/json/reader.h"
#include "lib/trust/fake_repository.h"

namespace cfs::trust {
namespace {

using json::Value;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() { start_anew(); }

  // A device that knows nothing but 1.root.json.
  void start_anew() {
    ASSERT_TRUE(trust_root(store_, Unverified(repository_.files["metadata/1.root.json"])));
  }

  Result<Verified<Targets>> update(UnixTime now = FakeRepository::kNow) {
    repository_.fetched.clear();
    return refresh(store_, repository_.fetch(), now);
  }
  void expect_good() {
    Result<Verified<Targets>> targets = update();
    ASSERT_TRUE(targets) << targets.error().describe();
  }
  void expect_refused(ErrorCode code, const std::string& message,
                      UnixTime now = FakeRepository::kNow) {
    Result<Verified<Targets>> targets = update(now);
    ASSERT_FALSE(targets);
    EXPECT_EQ(targets.error().code, code) << targets.error().describe();
    EXPECT_THAT(targets.error().describe(), HasSubstr(message));
  }

  FakeRepository repository_;
  FakeMetadataStore store_;
  const FakeKey attacker_{99};
};

TEST_F(ClientTest, TheSavedTimestampTellsWhenItExpires) {
  EXPECT_EQ(expiry_of_saved_timestamp(store_).value(), std::nullopt);
  expect_good();
  EXPECT_EQ(expiry_of_saved_timestamp(store_).value(), FakeRepository::kNow + 86400);
  store_.files["timestamp.json"] = "damaged";
  EXPECT_EQ(expiry_of_saved_timestamp(store_).value(), std::nullopt);
  repository_.roles["timestamp"].keys = {attacker_};
  repository_.publish();
  store_.files["timestamp.json"] = repository_.files["metadata/timestamp.json"];
  EXPECT_EQ(expiry_of_saved_timestamp(store_).value(), std::nullopt);
}

TEST_F(ClientTest, GoodRepository) {
  repository_.add_target("file_1.efi", "content");
  repository_.publish();
  Result<Verified<Targets>> targets = update();
  ASSERT_TRUE(targets) << targets.error().describe();
  EXPECT_EQ((*targets)->root_version, 1u);
  EXPECT_EQ((*targets)->timestamp_version, 1u);
  EXPECT_EQ((*targets)->snapshot_version, 1u);
  EXPECT_EQ((*targets)->targets_version, 1u);
  EXPECT_EQ((*targets)->expires, FakeRepository::kNow + 86400);
  EXPECT_EQ((*targets)->entries.at("file_1.efi").size_bytes, 7u);
  EXPECT_THAT(repository_.fetched,
              ElementsAre("metadata/2.root.json", "metadata/timestamp.json",
                          "metadata/1.snapshot.json", "metadata/1.targets.json"));
  EXPECT_EQ(store_.files.size(), 5u);

  // Nothing new: nothing more is fetched than is needed to know that.
  expect_good();
  EXPECT_THAT(repository_.fetched, ElementsAre("metadata/2.root.json", "metadata/timestamp.json"));

  repository_.publish_next();
  targets = update();
  ASSERT_TRUE(targets) << targets.error().describe();
  EXPECT_EQ((*targets)->targets_version, 2u);
  EXPECT_EQ((*load_trusted(store_))->targets_version, 2u);
}

TEST_F(ClientTest, WorksWithoutHashesInMeta) {
  repository_.hashes_in_meta = false;
  repository_.publish();
  expect_good();
  repository_.publish_next();
  expect_good();
}

TEST_F(ClientTest, NeedsATrustedRoot) {
  store_.files.clear();
  expect_refused(ErrorCode::kNotFound, "no trusted root");
  EXPECT_EQ(load_trusted(store_).error().code, ErrorCode::kNotFound);
}

TEST_F(ClientTest, ADamagedTrustedRootIsNotUsed) {
  store_.files.erase("initial_root.json");
  store_.files["root.json"].replace(store_.files["root.json"].find("1.0.34"), 6, "1.0.35");
  expect_refused(ErrorCode::kSignature, "root.json: valid signatures by 0 of the 1");
  store_.files["root.json"] = "";
  expect_refused(ErrorCode::kCorrupt, "while reading this device's trusted root");
  EXPECT_THAT(update().error().hint, HasSubstr("put a root.json that you trust"));
  // The initial root does not make a bad one good either.
  store_.files["initial_root.json"] = FakeRepository::sign(repository_.root_content(), {attacker_});
  EXPECT_FALSE(update());
}

TEST_F(ClientTest, ADamagedTrustedRootIsFoundAgainFromTheInitialOne) {
  std::vector<FakeKey> first_keys = repository_.roles["root"].keys;
  repository_.roles["root"] = {.keys = {FakeKey(60)}, .version = 2};
  repository_.publish_root(first_keys);
  expect_good();
  const std::string newest = store_.files["root.json"];
  EXPECT_EQ(newest, repository_.files["metadata/2.root.json"]);
  for (const std::string& damaged :
       {std::string(), newest.substr(0, 100), std::string(1 << 20, ' '), attacker_.id()}) {
    store_.files["root.json"] = damaged;
    expect_good();
    EXPECT_EQ(store_.files["root.json"], newest);
  }
  store_.files.erase("root.json");
  expect_good();
  // Saved before the repository is asked: the next damage may be to the other copy.
  store_.files["root.json"] = "";
  repository_.files.erase("metadata/timestamp.json");
  repository_.files.erase("metadata/2.root.json");
  EXPECT_FALSE(update());
  EXPECT_EQ(store_.files["root.json"], repository_.files["metadata/1.root.json"]);
}

TEST_F(ClientTest, AFileThatTheRepositoryLacksIsANetworkError) {
  for (const char* path :
       {"metadata/timestamp.json", "metadata/1.snapshot.json", "metadata/1.targets.json"}) {
    std::string good = std::exchange(repository_.files[path], "");
    repository_.files.erase(path);
    expect_refused(ErrorCode::kNetwork, path);
    EXPECT_THAT(update().error().hint,
                HasSubstr(path == std::string(release::kTimestampPath) ? "no release repository"
                                                                       : "lacks a file"));
    repository_.files[path] = good;
  }
  expect_good();
}

TEST_F(ClientTest, TrustRootForgetsTheRest) {
  expect_good();
  EXPECT_TRUE(trust_root(store_, Unverified(repository_.files["metadata/1.root.json"])));
  EXPECT_EQ(store_.files.size(), 2u);  // the trusted root and the initial one
  Result<> unsigned_root =
      trust_root(store_, Unverified(FakeRepository::sign(repository_.root_content(), {attacker_})));
  EXPECT_EQ(unsigned_root.error().code, ErrorCode::kSignature);
}

// Arbitrary software: files changed on the way.

TEST_F(ClientTest, ArbitraryAnyChangedByteIsRefused) {
  repository_.add_target("file", "content");
  repository_.publish();
  for (const std::string path : {"metadata/timestamp.json", "metadata/1.snapshot.json",
                                 "metadata/1.targets.json", "metadata/2.root.json"}) {
    ++repository_.roles["root"].version;
    repository_.publish_root();
    const std::string good = repository_.files[path];
    for (size_t at = 0; at < good.size(); at += 7) {
      repository_.files[path][at] ^= 1;
      start_anew();
      EXPECT_FALSE(update()) << path << " byte " << at;
      repository_.files[path] = good;
    }
    repository_.files.erase("metadata/2.root.json");
    repository_.roles["root"].version = 1;
  }
  expect_good();
}

TEST_F(ClientTest, GarbageAndTruncationAreRefused) {
  for (const std::string path :
       {"metadata/timestamp.json", "metadata/1.snapshot.json", "metadata/1.targets.json"}) {
    const std::string good = repository_.files[path];
    std::vector<std::string> bad = {"",
                                    "{}",
                                    "[]",
                                    "null",
                                    "\xff\xfe",
                                    good + "x",
                                    R"({"signatures":[],"signed":{}})",
                                    R"({"signatures":{},"signed":[]})",
                                    std::string(9000, '[')};
    for (size_t length = 1; length < good.size(); length += 41)
      bad.push_back(good.substr(0, length));
    for (const std::string& text : bad) {
      repository_.files[path] = text;
      EXPECT_FALSE(update()) << path << ": " << text.substr(0, 60);
    }
    repository_.files[path] = good;
  }
  expect_good();
}

// Wrong keys: the attacker writes consistent metadata but has one key of his own.

TEST_F(ClientTest, WrongKeyOfEachRole) {
  for (const char* role : {"timestamp", "snapshot", "targets"}) {
    FakeRepository good = repository_;
    start_anew();
    repository_.roles[role].keys = {attacker_};
    repository_.publish_targets();
    repository_.publish_snapshot();
    repository_.publish_timestamp();
    expect_refused(ErrorCode::kSignature, std::string(role) + ".json: valid signatures by 0");
    repository_ = good;
  }
}

TEST_F(ClientTest, AKeyOfOneRoleDoesNotSignForAnother) {
  repository_.roles["targets"].keys = repository_.roles["snapshot"].keys;
  repository_.publish_targets();
  repository_.publish_snapshot();
  repository_.publish_timestamp();
  expect_refused(ErrorCode::kSignature, "targets.json");
}

TEST_F(ClientTest, OneRolesFileIsNotAnothers) {
  // All roles share one key, so that only the type tells the files apart.
  for (auto& [name, role] : repository_.roles) role.keys = {FakeKey(1)};
  repository_.publish();
  start_anew();
  repository_.files["metadata/timestamp.json"] = repository_.files["metadata/1.snapshot.json"];
  expect_refused(ErrorCode::kCorrupt, "'_type' must be 'timestamp'");
}

// Thresholds.

class ThresholdTest : public ClientTest {
 protected:
  // Targets need two of three keys.
  ThresholdTest() {
    repository_.roles["targets"].keys = {FakeKey(11), FakeKey(12), FakeKey(13)};
    repository_.roles["targets"].threshold = 2;
    repository_.publish();
    start_anew();
  }
  void sign_targets(const std::vector<FakeKey>& signers) {
    start_anew();
    Value::Object content = repository_.common("targets");
    content["targets"] = repository_.targets;
    repository_.files["metadata/1.targets.json"] = FakeRepository::sign(content, signers);
    repository_.publish_snapshot();
    repository_.publish_timestamp();
  }
};

TEST_F(ThresholdTest, EnoughKeysInAnyOrder) {
  sign_targets({FakeKey(13), attacker_, FakeKey(11)});
  expect_good();
}

TEST_F(ThresholdTest, BelowThreshold) {
  sign_targets({FakeKey(12)});
  expect_refused(ErrorCode::kSignature, "1 of the 2");
  sign_targets({});
  expect_refused(ErrorCode::kSignature, "0 of the 2");
  sign_targets({FakeKey(12), attacker_});
  expect_refused(ErrorCode::kSignature, "1 of the 2");
}

// Spec: §4.2, even if there are enough others.
TEST_F(ThresholdTest, TwoSignaturesWithOneKeyIdAreRefused) {
  sign_targets({FakeKey(12), FakeKey(12), FakeKey(12)});
  expect_refused(ErrorCode::kCorrupt, "has signed already");
  sign_targets({FakeKey(11), FakeKey(12), FakeKey(12)});
  expect_refused(ErrorCode::kCorrupt, "'signatures[2].keyid' has signed already");
  sign_targets({FakeKey(11), attacker_, FakeKey(12), attacker_});
  expect_refused(ErrorCode::kCorrupt, "has signed already");
}

TEST_F(ThresholdTest, OneKeyUnderTwoIdsCountsOnce) {
  Value other = FakeKey(11).object();
  (*other.as<Value::Object>())["note"] = "the same key, another id";
  const std::string other_id = PublicKey::parse(json::Reader(other, "key"))->id();
  Value::Object root = repository_.root_content();
  (*root["keys"].as<Value::Object>())[other_id] = other;
  Value::Object& targets_role =
      *(*root["roles"].as<Value::Object>())["targets"].as<Value::Object>();
  targets_role["keyids"].as<Value::Array>()->emplace_back(other_id);
  ASSERT_TRUE(
      trust_root(store_, Unverified(FakeRepository::sign(root, repository_.roles["root"].keys))));

  Value::Object content = repository_.common("targets");
  content["targets"] = repository_.targets;
  std::string sig = to_hex(FakeKey(11).sign(json::to_signing_form(content)));
  repository_.files["metadata/1.targets.json"] = json::to_canonical(Value::Object{
      {"signatures", Value::Array{Value::Object{{"keyid", FakeKey(11).id()}, {"sig", sig}},
                                  Value::Object{{"keyid", other_id}, {"sig", sig}}}},
      {"signed", content}});
  repository_.publish_snapshot();
  repository_.publish_timestamp();
  expect_refused(ErrorCode::kSignature, "1 of the 2");
}

TEST_F(ThresholdTest, FalseSignaturesBesideTheRightOnesDoNoHarm) {
  for (const std::string& sig : {std::string(), std::string("00"), std::string("no hex"),
                                 std::string(128, '0'), std::string(4000, 'a')}) {
    sign_targets({FakeKey(11), FakeKey(13)});
    Value json = *json::parse(repository_.files["metadata/1.targets.json"], {}, "test");
    Value::Array& signatures = *(*json.as<Value::Object>())["signatures"].as<Value::Array>();
    signatures.insert(signatures.begin(), Value::Object{{"keyid", FakeKey(12).id()}, {"sig", sig}});
    repository_.files["metadata/1.targets.json"] = json::to_canonical(json);
    repository_.publish_snapshot();
    repository_.publish_timestamp();
    expect_good();
  }
}

// Spec: §4.3 asks for no more than 1. A device that refused such a root would never get past it.
TEST_F(ClientTest, AThresholdAboveTheNumberOfKeysFailsInItsOwnCheckOnly) {
  expect_good();
  std::vector<FakeKey> root_keys = repository_.roles["root"].keys;
  repository_.roles["targets"].threshold = 5;
  repository_.roles["root"].version = 2;
  repository_.publish_root();
  repository_.publish_next();
  expect_refused(ErrorCode::kSignature,
                 "targets.json: valid signatures by 1 of the 5 trusted keys needed (root version "
                 "2); there are only 1 that can be used");
  EXPECT_EQ(store_.files["root.json"], repository_.files["metadata/2.root.json"]);
  // The next root mends it.
  repository_.roles["targets"].threshold = 1;
  repository_.roles["root"].version = 3;
  repository_.publish_root();
  expect_good();

  repository_.roles["root"].threshold = 2;
  repository_.roles["root"].version = 4;
  repository_.publish_root();
  expect_refused(ErrorCode::kSignature, "checking against its own keys");
  EXPECT_EQ(store_.files["root.json"], repository_.files["metadata/3.root.json"]);
}

TEST_F(ClientTest, RolesWithKeysOfEachType) {
  repository_.roles["root"].keys = {FakeKey::generate_ecdsa(), FakeKey(1)};
  repository_.roles["root"].threshold = 2;
  repository_.roles["timestamp"].keys = {FakeKey::generate_rsa()};
  repository_.roles["snapshot"].keys = {FakeKey::generate_ecdsa()};
  repository_.roles["targets"].keys = {FakeKey::generate_ecdsa(), FakeKey::generate_rsa(),
                                       FakeKey(5)};
  repository_.roles["targets"].threshold = 3;
  repository_.publish();
  start_anew();
  expect_good();
  // Each of them is looked at.
  for (const char* role : {"timestamp", "snapshot", "targets"}) {
    FakeRepository good = repository_;
    store_ = {};
    start_anew();
    repository_.roles[role].keys.front() = FakeKey::generate_ecdsa();
    repository_.publish_targets();
    repository_.publish_snapshot();
    repository_.publish_timestamp();
    expect_refused(ErrorCode::kSignature, std::string(role) + ".json: valid signatures by");
    repository_ = good;
  }
}

// Rollback of each role.

TEST_F(ClientTest, RollbackOfTimestamp) {
  std::string old = repository_.files["metadata/timestamp.json"];
  repository_.publish_next();
  expect_good();
  repository_.files["metadata/timestamp.json"] = old;
  expect_refused(ErrorCode::kRollback, "timestamp.json: version 1 is offered, version 2");
}

TEST_F(ClientTest, RollbackOfSnapshotByAStolenTimestampKey) {
  repository_.publish_next();
  expect_good();
  repository_.roles["snapshot"].version = 1;
  repository_.roles["timestamp"].version = 3;
  repository_.publish_timestamp();
  expect_refused(ErrorCode::kRollback, "snapshot.json in timestamp.json: version 1");
}

TEST_F(ClientTest, RollbackOfTargetsByStolenSnapshotAndTimestampKeys) {
  repository_.publish_next();
  expect_good();
  repository_.roles["targets"].version = 1;
  repository_.roles["snapshot"].version = 3;
  repository_.roles["timestamp"].version = 3;
  repository_.publish_snapshot();
  repository_.publish_timestamp();
  expect_refused(ErrorCode::kRollback, "targets.json in snapshot.json: version 1");
}

TEST_F(ClientTest, SnapshotMayNotDropAFile) {
  Value::Object content = repository_.common("snapshot");
  content["meta"] = Value::Object{{"targets.json", to_json(repository_.meta("targets"))},
                                  {"stable.json", Value::Object{{"version", 4}}}};
  repository_.write("snapshot", content);
  repository_.publish_timestamp();
  expect_good();
  repository_.publish_next();
  expect_refused(ErrorCode::kRollback, "no longer has 'stable.json'");
}

TEST_F(ClientTest, ExpiredSavedMetadataStillGuardsAgainstRollback) {
  repository_.roles["root"].expires += 86400 * 10;
  repository_.publish();
  start_anew();
  std::string old = repository_.files["metadata/timestamp.json"];
  repository_.publish_next();
  expect_good();
  repository_.files["metadata/timestamp.json"] = old;
  expect_refused(ErrorCode::kRollback, "timestamp.json", FakeRepository::kNow + 86400 * 5);
}

// Freeze.

TEST_F(ClientTest, FreezeOfEachRole) {
  for (const char* role : {"root", "timestamp", "snapshot", "targets"}) {
    FakeRepository good = repository_;
    repository_.roles[role].expires = FakeRepository::kNow;
    repository_.publish();
    start_anew();
    expect_refused(ErrorCode::kExpired,
                   std::string(role) + ".json expired at 2027-01-15T08:00:00Z");
    expect_refused(ErrorCode::kExpired, std::string(role) + ".json expired");
    Result<Verified<Targets>> a_second_earlier = update(FakeRepository::kNow - 1);
    EXPECT_TRUE(a_second_earlier) << a_second_earlier.error().describe();
    // What was saved while it was fresh is refused as well once it has expired.
    expect_refused(ErrorCode::kExpired, std::string(role) + ".json expired");
    repository_ = good;
  }
}

TEST_F(ClientTest, LoadTrustedDoesNotLookAtTheClock) {
  EXPECT_EQ(load_trusted(store_).error().code, ErrorCode::kNotFound);
  repository_.roles["targets"].expires = FakeRepository::kNow - 5;
  repository_.publish();
  ASSERT_TRUE(update(FakeRepository::kNow - 10));
  ASSERT_TRUE(load_trusted(store_));
  store_.files["targets.json"].replace(store_.files["targets.json"].size() - 2, 1, " ");
  EXPECT_EQ(load_trusted(store_).error().code, ErrorCode::kCorrupt);
  store_.files["targets.json"] = FakeRepository::sign(repository_.common("targets"), {attacker_});
  EXPECT_EQ(load_trusted(store_).error().code, ErrorCode::kSignature);
}

// Mix and match: files that were all signed, but not together.

TEST_F(ClientTest, MixAndMatchOfTargetsAndSnapshot) {
  for (bool hashes : {true, false}) {
    repository_.hashes_in_meta = hashes;
    repository_.publish_next();
    std::string old_targets =
        repository_.files[release::metadata_path("targets", repository_.roles["targets"].version)];
    std::string old_snapshot =
        repository_
            .files[release::metadata_path("snapshot", repository_.roles["snapshot"].version)];
    repository_.add_target("new", "new");
    repository_.publish_next();
    FakeRepository good = repository_;

    // The snapshot first: the targets are looked at only when it is right.
    repository_.files[release::metadata_path("snapshot", repository_.roles["snapshot"].version)] =
        old_snapshot;
    expect_refused(ErrorCode::kDigestMismatch, "snapshot.json");
    repository_ = good;
    repository_.files[release::metadata_path("targets", repository_.roles["targets"].version)] =
        old_targets;
    expect_refused(ErrorCode::kDigestMismatch, "targets.json");
    repository_ = good;
    expect_good();
  }
}

TEST_F(ClientTest, SameVersionOtherContentIsRefused) {
  // The targets key signs two files with one version; the snapshot announces only one of them.
  expect_good();
  store_.files.erase("targets.json");
  ++repository_.roles["targets"].expires;
  repository_.publish_targets();
  expect_refused(ErrorCode::kDigestMismatch, "targets.json");
}

// Endless data.

TEST_F(ClientTest, EndlessDataIsCutOffAtEveryFile) {
  expect_good();
  const std::vector<std::string> paths = {"metadata/2.root.json", "metadata/timestamp.json",
                                          "metadata/2.snapshot.json", "metadata/2.targets.json"};
  repository_.publish_next();
  for (const std::string& endless : paths) {
    size_t limit_seen = 0;
    Fetch good = repository_.fetch();
    Fetch fetch = [&](const std::string& path, size_t limit) -> Result<Unverified<std::string>> {
      if (path != endless) return good(path, limit);
      limit_seen = limit;
      return Unverified(std::string(limit + 1, ' '));  // breaks the contract of Fetch
    };
    Result<Verified<Targets>> targets = refresh(store_, fetch, FakeRepository::kNow);
    ASSERT_FALSE(targets);
    EXPECT_EQ(targets.error().code, ErrorCode::kCorrupt) << endless;
    EXPECT_GT(limit_seen, 0u);
    EXPECT_LE(limit_seen, 512u << 10);
    // What an earlier role announced is the limit.
    if (endless == paths[3]) {
      EXPECT_EQ(limit_seen, repository_.files[endless].size());
    }
  }
}

TEST_F(ClientTest, EndlessRootsAreCutOff) {
  for (uint64_t version = 2; version <= 300; ++version) {
    repository_.roles["root"].version = version;
    repository_.publish_root();
  }
  Result<Verified<Targets>> targets = update();
  ASSERT_TRUE(targets);
  EXPECT_EQ((*targets)->root_version, 257u);
  targets = update();
  ASSERT_TRUE(targets);
  EXPECT_EQ((*targets)->root_version, 300u);
}

// Root rotation.

TEST_F(ClientTest, RootChain) {
  for (uint8_t i = 2; i <= 4; ++i) {
    std::vector<FakeKey> before = repository_.roles["root"].keys;
    repository_.roles["root"].keys = {FakeKey(static_cast<uint8_t>(100 + i))};
    repository_.roles["root"].version = i;
    // Intermediate roots may have expired; the last may not.
    repository_.roles["root"].expires = i < 4 ? 1 : FakeRepository::kNow + 1;
    repository_.publish_root(before);
  }
  Result<Verified<Targets>> targets = update();
  ASSERT_TRUE(targets) << targets.error().describe();
  EXPECT_EQ((*targets)->root_version, 4u);
  EXPECT_EQ(store_.files["root.json"], repository_.files["metadata/4.root.json"]);
}

TEST_F(ClientTest, RootMustBeSignedByTheOldKeys) {
  repository_.roles["root"].keys = {attacker_};
  repository_.roles["root"].version = 2;
  repository_.publish_root();
  expect_refused(ErrorCode::kSignature, "checking against the trusted root");
  EXPECT_EQ(store_.files["root.json"], repository_.files["metadata/1.root.json"]);
}

TEST_F(ClientTest, RootMustBeSignedByItsOwnKeys) {
  FakeKey old = repository_.roles["root"].keys[0];
  repository_.roles["root"].keys = {FakeKey(50), FakeKey(51)};
  repository_.roles["root"].threshold = 2;
  repository_.roles["root"].version = 2;
  for (const std::vector<FakeKey>& signers :
       {std::vector{old}, std::vector{old, FakeKey(50)}, std::vector{FakeKey(51), old}}) {
    repository_.files["metadata/2.root.json"] =
        FakeRepository::sign(repository_.root_content(), signers);
    expect_refused(ErrorCode::kSignature, "checking against its own keys");
  }
  repository_.publish_root({old});
  expect_good();
}

TEST_F(ClientTest, RootMustMeetTheOldThreshold) {
  repository_.roles["root"].keys = {FakeKey(50), FakeKey(51)};
  repository_.roles["root"].threshold = 2;
  repository_.publish_root();
  start_anew();
  repository_.roles["root"].keys = {FakeKey(52)};
  repository_.roles["root"].threshold = 1;
  repository_.roles["root"].version = 2;
  repository_.publish_root({FakeKey(50)});
  expect_refused(ErrorCode::kSignature, "1 of the 2 trusted keys needed (root version 1)");
  repository_.publish_root({FakeKey(50), FakeKey(51)});
  expect_good();
}

TEST_F(ClientTest, RootVersionsCannotBeSkippedOrRepeated) {
  for (uint64_t version : {uint64_t{1}, uint64_t{3}}) {
    repository_.roles["root"].version = version;
    repository_.files["metadata/2.root.json"] =
        FakeRepository::sign(repository_.root_content(), repository_.roles["root"].keys);
    expect_refused(ErrorCode::kRollback, "is offered as version 2");
  }
}

TEST_F(ClientTest, AMissingRootEndsTheChain) {
  // An unsigned gap cannot be jumped: 3.root.json alone is never looked at.
  repository_.roles["root"].version = 3;
  repository_.publish_root();
  Result<Verified<Targets>> targets = update();
  ASSERT_TRUE(targets);
  EXPECT_EQ((*targets)->root_version, 1u);
}

TEST_F(ClientTest, RevokedKeyNoLongerSigns) {
  expect_good();
  repository_.roles["root"].version = 2;
  repository_.roles["targets"].keys = {FakeKey(60)};
  repository_.publish_root();
  // The repository still has what the old key signed.
  expect_refused(ErrorCode::kSignature, "targets.json");
  EXPECT_EQ(load_trusted(store_).error().code, ErrorCode::kSignature);
  repository_.publish_next();
  expect_good();
}

TEST_F(ClientTest, FastForwardRecovery) {
  for (bool power_cut : {false, true}) {
    // A thief of the timestamp and snapshot keys drives the versions up.
    repository_.roles["timestamp"].version = 1'000'000;
    repository_.roles["snapshot"].version = 1'000'000;
    repository_.publish_snapshot();
    repository_.publish_timestamp();
    expect_good();
    // The owner takes new keys beside nothing else and goes on with small versions.
    ++repository_.roles["root"].version;
    repository_.roles["timestamp"] = {{FakeKey(power_cut ? 71 : 70)}};
    repository_.roles["snapshot"].version = 5;
    repository_.publish_root();
    repository_.publish_snapshot();
    repository_.publish_timestamp();
    if (power_cut) {
      for (int changes = 0; changes < 3; ++changes) {
        store_.changes_until_failure = changes;
        EXPECT_FALSE(update());
      }
      store_.changes_until_failure = -1;
    }
    expect_good();
    EXPECT_FALSE(store_.files["timestamp.json"].empty());
  }
}

TEST_F(ClientTest, RootWithoutRotationKeepsTheGuardAgainstRollback) {
  std::string old = repository_.files["metadata/timestamp.json"];
  repository_.publish_next();
  expect_good();
  repository_.roles["root"].version = 2;
  repository_.publish_root();
  repository_.files["metadata/timestamp.json"] = old;
  expect_refused(ErrorCode::kRollback, "timestamp.json");
}

// Documents that are signed but wrong.

TEST_F(ClientTest, WhatARootMustBe) {
  auto root_with = [&](auto change) {
    Value::Object root = repository_.root_content();
    change(root);
    return trust_root(store_,
                      Unverified(FakeRepository::sign(root, repository_.roles["root"].keys)));
  };
  auto roles = [](Value::Object& root) -> Value::Object& {
    return *root["roles"].as<Value::Object>();
  };
  auto role = [&](Value::Object& root, const char* name) -> Value::Object& {
    return *roles(root)[name].as<Value::Object>();
  };
  EXPECT_TRUE(root_with([](Value::Object&) {}));
  EXPECT_TRUE(root_with([](Value::Object& root) { root["unknown"] = "member"; }));
  EXPECT_TRUE(root_with([](Value::Object& root) {  // a key that we cannot use is no error
    (*root["keys"].as<Value::Object>())["abc"] =
        Value::Object{{"keytype", "sphincs"}, {"scheme", "sphincs"}, {"keyval", Value::Object{}}};
  }));
  EXPECT_TRUE(root_with([&](Value::Object& root) {  // nor is one under a name that is not its id
    (*root["keys"].as<Value::Object>())["abc"] = attacker_.object();
  }));
  for (auto change : {+[](Value::Object& root) { root["consistent_snapshot"] = false; },
                      +[](Value::Object& root) { root.erase("consistent_snapshot"); }}) {
    EXPECT_EQ(root_with(change).error().code, ErrorCode::kUnsupported);
  }
  for (const char* version : {"2.0.0", "0.9", "1", "x", "1.0.0x", ""}) {
    EXPECT_EQ(root_with([&](Value::Object& root) { root["spec_version"] = version; }).error().code,
              ErrorCode::kUnsupported);
  }
  for (const char* name : {"root", "timestamp", "snapshot", "targets"}) {
    EXPECT_FALSE(root_with([&](Value::Object& root) { roles(root).erase(name); }));
    EXPECT_FALSE(root_with([&](Value::Object& root) { role(root, name)["threshold"] = 0; }));
    EXPECT_TRUE(root_with([&](Value::Object& root) {  // the same key twice is one key
      Value::Array& ids = *role(root, name)["keyids"].as<Value::Array>();
      ids.push_back(ids[0]);
    }));
  }
  EXPECT_FALSE(root_with([](Value::Object& root) { root["version"] = 0; }));
  EXPECT_FALSE(root_with([](Value::Object& root) { root["expires"] = "never"; }));
}

// A role's keys may all be of no use to us: the message says so, and why.
TEST_F(ClientTest, ARootWithoutAUsableKeySaysThat) {
  auto with_keys = [&](const Value::Object& keys) {
    Value::Object root = repository_.root_content();
    Value::Array ids;
    for (const auto& [id, key] : keys) ids.emplace_back(id);
    root["keys"] = keys;
    for (Role role : kRoles) {
      (*root["roles"].as<Value::Object>())[std::string(role_name(role))] =
          Value::Object{{"keyids", ids}, {"threshold", 1}};
    }
    return trust_root(store_, Unverified(FakeRepository::sign(root, {FakeKey(1)}))).error();
  };
  auto key = [](const char* type, const char* scheme, const char* text) {
    return Value::Object{
        {"keytype", type}, {"keyval", Value::Object{{"public", text}}}, {"scheme", scheme}};
  };
  Error error = with_keys({{"abc", key("sphincs", "sphincs-shake-128s", "")}});
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message,
              HasSubstr("root.json: none of its 1 keys in root version 1 can be used"));
  EXPECT_THAT(error.message, HasSubstr("type 'sphincs' with scheme 'sphincs-shake-128s'"));
  error = with_keys({{"abc", key("ecdsa", "ecdsa-sha2-nistp256", "no PEM")}});
  EXPECT_THAT(error.message,
              HasSubstr("'keys.abc.keyval.public' must be a public key of the curve"));
  error = with_keys({{"abc", attacker_.object()}});
  EXPECT_THAT(error.message, HasSubstr("'keys.abc' is not named by its key id"));
  error = with_keys({});
  EXPECT_THAT(error.message, HasSubstr("none of its 0 keys"));
}

TEST_F(ClientTest, ATargetThatWeCannotUseLeavesTheRestUsable) {
  repository_.add_target("good", "content");
  repository_.add_target("dir/sub.d/file_1", "in a directory");
  std::vector<std::string> bad = {"../x",    "a/../b", "a//b", "/a",   "a/",
                                  ".hidden", "a/.b",   "",     "a b",  "a\n",
                                  "a%2fb",   "-x",     "a/-x", "a/..", std::string(181, 'a')};
  for (const std::string& name : bad) repository_.add_target(name, "x");
  auto with = [&](const char* name, const char* member, const Value& value) {
    repository_.add_target(name, "x");
    (*repository_.targets[name].as<Value::Object>())[member] = value;
    bad.emplace_back(name);
  };
  with("half-a-sha512", "hashes", Value::Object{{"sha512", std::string(64, 'a')}});
  with("no-hash", "hashes", Value::Object{});
  with("negative", "length", -1);
  with("half-a-hash", "hashes", Value::Object{{"sha256", std::string(32, 'a')}});
  repository_.publish_next();
  Result<Verified<Targets>> targets = update();
  ASSERT_TRUE(targets) << targets.error().describe();
  EXPECT_EQ((*targets)->entries.size(), 2u);
  EXPECT_EQ((*targets)->unusable_entries.size(), bad.size());
  EXPECT_TRUE(verify_target(*targets, "good", Unverified(std::string("content"))));
  EXPECT_EQ(repository_.files.count((*find_target(*targets, "dir/sub.d/file_1"))->path()), 1u);
  for (const std::string& name : bad) {
    Result<const TargetEntry*> entry = find_target(*targets, name);
    ASSERT_FALSE(entry) << name;
    EXPECT_EQ(entry.error().code, ErrorCode::kUnsupported) << name;
    EXPECT_FALSE(verify_target(*targets, name, Unverified(std::string("x")))) << name;
  }
  EXPECT_THAT(find_target(*targets, "a b").error().message, HasSubstr("is no target name"));
  EXPECT_THAT(find_target(*targets, "no-hash").error().message,
              HasSubstr("targets.no-hash.hashes.sha256' is missing"));
  EXPECT_EQ(find_target(*targets, "other").error().code, ErrorCode::kNotFound);
}

TEST_F(ClientTest, ATargetMayHaveASha512Alone) {
  // Of "abc". Spec: FIPS 180-4, examples.
  const std::string sha512 =
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
      "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
  repository_.add_target("dir/file", "abc");
  Value::Object& entry = *repository_.targets["dir/file"].as<Value::Object>();
  entry["hashes"] = Value::Object{{"blake2b-256", "x"}, {"sha512", sha512}};
  repository_.publish_next();
  Result<Verified<Targets>> targets = update();
  ASSERT_TRUE(targets) << targets.error().describe();
  const TargetEntry* found = find_target(*targets, "dir/file").value();
  EXPECT_EQ(found->path(), "targets/dir/" + sha512 + ".file");
  EXPECT_EQ(to_json(*found)["hashes"], (Value::Object{{"sha512", sha512}}));
  EXPECT_TRUE(verify_target(*targets, "dir/file", Unverified(std::string("abc"))));
  for (const char* wrong : {"abd", "abcd", ""}) {
    Error error = verify_target(*targets, "dir/file", Unverified(std::string(wrong))).error();
    EXPECT_EQ(error.code, ErrorCode::kDigestMismatch) << wrong;
  }
}

TEST_F(ClientTest, NamesTheKeysThatSignTargets) {
  const verity::Sha256Digest first = (*update())->targets_keys;
  repository_.publish_next();
  EXPECT_EQ((*update())->targets_keys, first);
  EXPECT_EQ((*load_trusted(store_))->targets_keys, first);
  repository_.roles["timestamp"].keys = {FakeKey(70)};
  repository_.roles["root"].version = 2;
  repository_.publish_root();
  repository_.publish_next();
  EXPECT_EQ((*update())->targets_keys, first);
  repository_.roles["targets"].keys = {FakeKey(71)};
  repository_.roles["root"].version = 3;
  repository_.publish_root();
  repository_.publish_next();
  EXPECT_NE((*update())->targets_keys, first);
}

// Failures on the way: whatever breaks at whatever step, the next run works.

TEST_F(ClientTest, AnyFailureLeavesAUsableStore) {
  expect_good();
  ++repository_.roles["root"].version;
  repository_.roles["timestamp"].keys = {FakeKey(80)};
  repository_.publish_root();
  repository_.publish_next();
  FakeMetadataStore start = store_;
  int fetches = 0;
  for (int fail_at = 0;; ++fail_at) {
    store_ = start;
    fetches = 0;
    Fetch good = repository_.fetch();
    Fetch fetch = [&](const std::string& path, size_t limit) -> Result<Unverified<std::string>> {
      if (fetches++ == fail_at) return make_error(ErrorCode::kNetwork, "cable pulled");
      return good(path, limit);
    };
    Result<Verified<Targets>> targets = refresh(store_, fetch, FakeRepository::kNow);
    if (targets) break;
    EXPECT_EQ(targets.error().code, ErrorCode::kNetwork);
    expect_good();
  }
  EXPECT_EQ(fetches, 5);
  for (int changes = 0;; ++changes) {
    store_ = start;
    store_.changes_until_failure = changes;
    bool whole = update().has_value();
    store_.changes_until_failure = -1;
    expect_good();
    if (whole) {
      EXPECT_EQ(changes, 6);
      break;
    }
  }
}

TEST_F(ClientTest, DamagedSavedMetadataIsFetchedAgain) {
  expect_good();
  for (const char* name : {"timestamp.json", "snapshot.json", "targets.json"}) {
    std::string good = store_.files[name];
    for (const std::string& bad :
         {std::string(), std::string("{"), std::string(20 << 20, 'x'), good.substr(0, 50)}) {
      store_.files[name] = bad;
      expect_good();
      EXPECT_EQ(store_.files[name], good);
    }
  }
}

}  // namespace
}  // namespace cfs::trust

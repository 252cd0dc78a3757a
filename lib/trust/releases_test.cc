// SPDX-License-Identifier: Apache-2.0
#include "lib/trust/releases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/json/canonical.h"
#include "lib/trust/fake_repository.h"

namespace cfs::trust {
namespace {

using json::Value;
using ::testing::HasSubstr;

class ReleaseTest : public ::testing::Test {
 protected:
  ReleaseTest() {
    CFS_CHECK(trust_root(store_, Unverified(repository_.files["metadata/1.root.json"])));
  }
  Result<Verified<Targets>> update() {
    return refresh(store_, repository_.fetch(), FakeRepository::kNow);
  }
  static Value custom(const char* name, const char* version, const char* channel, uint64_t epoch) {
    release::ReleaseDescription description;
    description.name = name;
    description.version = version;
    description.channel = channel;
    description.epoch = epoch;
    return release_custom(description);
  }
  release::ReleaseDescription description() {
    release::ReleaseDescription result;
    result.name = "os";
    result.version = "1";
    result.epoch = 1;
    result.arch = "amd64";
    result.channel = "stable";
    result.image = {*verity::Digest::parse(std::string(64, 'a')), 8192};
    result.objects = {1, 7};
    manifest_ = "cfs-transport 1\nimage " + std::string(64, 'a') + " 8192 100\nobject " +
                std::string(64, '1') + " 7 9\n";
    result.transport = {verity::sha256(as_bytes(manifest_)), manifest_.size()};
    return result;
  }
  void publish(const std::string& text, const Value& custom) {
    repository_.add_target("os_1.release.json", text, custom);
    repository_.files[release::transport_path(description().image.digest)] = manifest_;
    repository_.publish_next();
  }

  FakeRepository repository_;
  FakeMetadataStore store_;
  std::string manifest_;
};

TEST_F(ReleaseTest, FromTargetsToTransport) {
  publish(*serialise_description(description()), custom("os", "1", "stable", 1));
  Verified<Targets> targets = *update();
  Result<ReleaseTarget> newest = newest_release(targets, "os", "stable");
  ASSERT_TRUE(newest) << newest.error().describe();
  Result<Verified<release::ReleaseDescription>> release =
      fetch_release(targets, newest->target, repository_.fetch());
  ASSERT_TRUE(release) << release.error().describe();
  EXPECT_EQ(**release, description());
  Result<Verified<transport::Manifest>> manifest = fetch_transport(*release, repository_.fetch());
  ASSERT_TRUE(manifest) << manifest.error().describe();
  EXPECT_EQ((*manifest)->objects.size(), 1u);

  EXPECT_EQ(fetch_release(targets, "os_2.release.json", repository_.fetch()).error().code,
            ErrorCode::kNotFound);
  EXPECT_EQ(newest_release(targets, "os", "edge").error().code, ErrorCode::kNotFound);
}

TEST_F(ReleaseTest, AChangedFileIsRefused) {
  publish(*serialise_description(description()), custom("os", "1", "stable", 1));
  Verified<Targets> targets = *update();
  Verified<release::ReleaseDescription> release =
      *fetch_release(targets, "os_1.release.json", repository_.fetch());
  for (auto& [path, content] : repository_.files) {
    if (!path.starts_with("metadata/")) content[content.size() / 2] ^= 1;
  }
  EXPECT_EQ(fetch_release(targets, "os_1.release.json", repository_.fetch()).error().code,
            ErrorCode::kDigestMismatch);
  EXPECT_EQ(fetch_transport(release, repository_.fetch()).error().code, ErrorCode::kDigestMismatch);
  EXPECT_EQ(
      verify_target(targets, "os_1.release.json", Unverified(std::string("short"))).error().code,
      ErrorCode::kDigestMismatch);
}

TEST_F(ReleaseTest, DescriptionMustBeWhatTheTargetSays) {
  std::string text = *serialise_description(description());
  for (const Value& wrong : {custom("ox", "1", "stable", 1), custom("os", "2", "stable", 1),
                             custom("os", "1", "edge", 1), custom("os", "1", "stable", 2), Value(),
                             Value(Value::Object{{"cfs", 1}})}) {
    publish(text, wrong);
    Result<Verified<release::ReleaseDescription>> release =
        fetch_release(*update(), "os_1.release.json", repository_.fetch());
    ASSERT_FALSE(release);
    EXPECT_EQ(release.error().code, ErrorCode::kCorrupt);
  }
}

TEST_F(ReleaseTest, TransportMustBelongToTheRelease) {
  for (int change = 0; change < 4; ++change) {
    release::ReleaseDescription wrong = description();
    if (change == 0) wrong.image.digest = *verity::Digest::parse(std::string(64, 'b'));
    if (change == 1) wrong.image.size_bytes = 4096;
    if (change == 2) wrong.objects.count = 2;
    if (change == 3) wrong.objects.size_bytes = 8;
    publish(*serialise_description(wrong), custom("os", "1", "stable", 1));
    Result<Verified<release::ReleaseDescription>> release =
        fetch_release(*update(), "os_1.release.json", repository_.fetch());
    ASSERT_TRUE(release);
    EXPECT_EQ(verify_transport(*release, Unverified(manifest_)).error().code, ErrorCode::kCorrupt);
  }
}

TEST_F(ReleaseTest, TheCustomMemberOfAReleasesTarget) {
  EXPECT_EQ(json::to_canonical(custom("os", "1", "stable", 7)),
            R"({"cfs":{"channel":"stable","epoch":7,"name":"os","version":"1"}})");
}

TEST_F(ReleaseTest, NewestIsTheHighestEpoch) {
  repository_.add_target("a", "1", custom("os", "10", "stable", 9));
  repository_.add_target("b", "2", custom("os", "9", "stable", 10));
  repository_.add_target("c", "3", custom("os", "99", "edge", 99));
  repository_.add_target("d", "4", custom("other", "99", "stable", 99));
  repository_.add_target("e", "5", Value::Object{{"note", "no release"}});
  repository_.publish_next();
  Verified<Targets> targets = *update();
  EXPECT_EQ(newest_release(targets, "os", "stable")->version, "9");
  EXPECT_EQ(newest_release(targets, "os", "edge")->version, "99");
  EXPECT_EQ(list_releases(targets).size(), 4u);

  repository_.add_target("f", "6", custom("os", "twin", "stable", 10));
  repository_.publish_next();
  EXPECT_EQ(newest_release(*update(), "os", "stable").error().code, ErrorCode::kCorrupt);
  // It is of no importance to others, nor once there is a newer one.
  EXPECT_EQ(newest_release(*update(), "os", "edge")->version, "99");
  repository_.add_target("g", "7", custom("os", "11", "stable", 11));
  repository_.publish_next();
  EXPECT_EQ(newest_release(*update(), "os", "stable")->version, "11");
}

TEST_F(ReleaseTest, ATargetThatIsNoReleaseDoesNoHarmToOthers) {
  repository_.add_target("a", "1", custom("os", "10", "stable", 9));
  repository_.add_target("b", "2", Value::Object{{"cfs", 1}});
  repository_.add_target("c", "3", Value::Object{{"cfs", Value::Object{{"name", "os"}}}});
  repository_.add_target("d", "4", "no object");
  repository_.publish_next();
  Verified<Targets> targets = *update();
  EXPECT_EQ(list_releases(targets).size(), 1u);
  EXPECT_EQ(newest_release(targets, "os", "stable")->version, "10");
}

TEST_F(ReleaseTest, WhatThereIsWhenAReleaseIsNotThere) {
  auto hint = [&](const char* name) {
    Result<ReleaseTarget> newest =
        find_newest_release(store_, repository_.fetch(), *update(), name, "stable");
    EXPECT_EQ(newest.error().code, ErrorCode::kNotFound);
    EXPECT_THAT(newest.error().message, HasSubstr(std::string("no release of '") + name + "'"));
    return newest.error().hint;
  };
  EXPECT_EQ(hint("gatway"), "it has no release at all");
  repository_.add_target("a", "1", custom("gateway", "1", "stable", 1));
  repository_.add_target("b", "2", custom("gateway", "2", "edge", 2));
  repository_.add_target("c", "3", custom("kiosk", "1", "stable", 1));
  repository_.publish_next();
  EXPECT_EQ(hint("gatway"), "it has: gateway (edge, stable), kiosk (stable)");

  // Signed, and waiting for `cfs-sign publish`.
  FakeRepository published = repository_;
  repository_.add_target("d", "4", custom("sensor", "1", "stable", 1));
  ++repository_.roles["targets"].version;
  repository_.publish_targets();
  repository_.add_target("e", "5", custom("camera", "1", "stable", 1));
  ++repository_.roles["targets"].version;
  repository_.publish_targets();
  EXPECT_EQ(hint("sensor"),
            "it has: gateway (edge, stable), kiosk (stable); not published yet ('cfs-sign "
            "publish'): camera (stable), sensor (stable)");
  // Whatever else lies there says nothing.
  repository_ = published;
  repository_.roles["targets"].keys = {FakeKey(99)};
  repository_.add_target("f", "6", custom("evil", "1", "stable", 1));
  ++repository_.roles["targets"].version;
  repository_.publish_targets();
  EXPECT_EQ(hint("evil"), "it has: gateway (edge, stable), kiosk (stable)");
}

}  // namespace
}  // namespace cfs::trust

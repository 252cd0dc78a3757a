// SPDX-License-Identifier: Apache-2.0
#include "deployer/sysroot/deployment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/json/canonical.h"
#include "lib/verity/merkle.h"

namespace cfs::deployer {
namespace {

TEST(Deployment, TextAndBack) {
  Deployment deployment{.id = "0123456789ab.0",
                        .digest = verity::digest_of({}),
                        .name = "test",
                        .version = "1.2~rc",
                        .channel = "stable",
                        .epoch = 7,
                        .state = DeploymentState::kGood,
                        .installed = 1'700'000'000,
                        .entry = "cfs_1",
                        .uki = verity::sha256({}),
                        .targets_keys = verity::sha256({})};
  std::string text = json::to_canonical(to_json(deployment));
  Result<Deployment> back = parse_deployment(text);
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(*back, deployment);
  auto replaced = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    return parse_deployment(changed);
  };
  EXPECT_EQ(replaced("\"schema\":1", "\"schema\":2").error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(replaced("\"good\"", "\"fine\"").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(replaced("\"epoch\":7", "\"epoch\":-7").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(replaced("\"entry\"", "\"ent\"").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(replaced("\"cfs_1\"", "\"cfs_1+3\"").error().code, ErrorCode::kCorrupt);
  // What is printed cannot drive a terminal or look like another line.
  for (const char* field : {"\"test\"", "\"1.2~rc\"", "\"stable\"", "\"0123456789ab.0\""}) {
    for (const char* bad : {R"("\u001b[1m")", R"("x\ny")", R"("")"}) {
      EXPECT_EQ(replaced(field, bad).error().code, ErrorCode::kCorrupt) << field << bad;
    }
  }
}

// As cfs 0.1 wrote it: the entry is a file's name, and there is no word of the UKI.
TEST(Deployment, AnOlderRecordIsRead) {
  Result<Deployment> deployment = parse_deployment(
      R"({"channel":"stable","digest":"5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456",)"
      R"("entry":"cfs_1.2~rc_5df6e0e27613.3.efi","epoch":7,"id":"5df6e0e27613.3","installed":1700000000,)"
      R"("name":"test","schema":1,"state":"good","version":"1.2~rc"})");
  ASSERT_TRUE(deployment) << deployment.error().describe();
  EXPECT_EQ(deployment->entry, "cfs_1.2~rc_5df6e0e27613.3");
  EXPECT_EQ(deployment->uki, std::nullopt);
  EXPECT_EQ(parse_deployment(json::to_canonical(to_json(*deployment))).value(), *deployment);
}

}  // namespace
}  // namespace cfs::deployer

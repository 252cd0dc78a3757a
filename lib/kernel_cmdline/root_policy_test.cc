// SPDX-License-Identifier: Apache-2.0
#include "lib/kernel_cmdline/root_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cfs::kernel_cmdline {
namespace {

using ::testing::HasSubstr;

const std::string kText =
    "cfs-root 1\netc merge\nroot transient\nkeep /etc/machine-id\nkeep /etc/ssh/ssh_host_*\n";

TEST(RootPolicyTest, IsReadAndWritten) {
  Result<RootPolicy> policy = parse_root_policy(kText);
  ASSERT_TRUE(policy) << policy.error().describe();
  EXPECT_EQ(policy->etc, EtcMode::kMerge);
  EXPECT_EQ(policy->root, RootMode::kTransient);
  EXPECT_EQ(policy->keep, default_root_policy().keep);
  EXPECT_EQ(serialise_root_policy(*policy).value(), kText);
  EXPECT_EQ(parse_root_policy("cfs-root 1\netc ro\nroot ro\n").value(),
            (RootPolicy{.etc = EtcMode::kReadOnly, .root = RootMode::kReadOnly, .keep = {}}));
}

TEST(RootPolicyTest, EveryModeHasItsName) {
  for (const char* name : {"merge", "overlay", "transient", "ro"}) {
    EXPECT_EQ(etc_mode_name(etc_mode_of(name).value()), name);
  }
  for (const char* name : {"transient", "ro"}) {
    EXPECT_EQ(root_mode_name(root_mode_of(name).value()), name);
  }
  EXPECT_EQ(etc_mode_of(""), std::nullopt);
  EXPECT_EQ(root_mode_of("merge"), std::nullopt);
}

// Whatever is cut off, doubled, or put elsewhere is another text, and refused.
TEST(RootPolicyTest, TakesNothingElse) {
  for (size_t size = 0; size < kText.size(); ++size) {
    Result<RootPolicy> policy = parse_root_policy(kText.substr(0, size));
    if (policy) {
      EXPECT_EQ(serialise_root_policy(*policy).value(), kText.substr(0, size));
    }
  }
  const std::string head = "cfs-root 1\netc ro\nroot ro\n";
  for (const std::string& text : {std::string("cfs-root 2\netc ro\nroot ro\n"),
                                  std::string("etc ro\nroot ro\n"),
                                  std::string("cfs-root 1\nroot ro\netc ro\n"),
                                  std::string("cfs-root 1\netc rw\nroot ro\n"),
                                  std::string("cfs-root 1\netc ro\nroot merge\n"),
                                  head + "\n",
                                  head + "keep\n",
                                  head + "keep \n",
                                  head + "keep /etc/x",
                                  head + "keep  /etc/x\n",
                                  head + "etc ro\n",
                                  head + "# x\n",
                                  head + "keep /var/x\n",
                                  head + "keep etc/x\n",
                                  head + "keep /etc\n",
                                  head + "keep /etc/../x\n",
                                  head + "keep /etc//x\n",
                                  head + "keep /etc/x/\n",
                                  head + "keep /etc/*/x\n",
                                  head + "keep /etc/[a]\n",
                                  head + "keep /etc/\\x\n",
                                  head + "keep /etc/\x80\n",
                                  head + std::string("keep /etc/\0x\n", 13)}) {
    Result<RootPolicy> policy = parse_root_policy(text);
    ASSERT_FALSE(policy) << text;
    EXPECT_EQ(policy.error().code, ErrorCode::kCorrupt);
  }
}

TEST(RootPolicyTest, IsBounded) {
  RootPolicy policy;
  policy.keep.assign(kMaxKeptPaths, "/etc/x");
  EXPECT_TRUE(serialise_root_policy(policy));
  policy.keep.emplace_back("/etc/x");
  EXPECT_EQ(serialise_root_policy(policy).error().code, ErrorCode::kInvalidInput);
  EXPECT_FALSE(parse_root_policy(std::string(kMaxRootPolicyBytes + 1, 'x')));
}

TEST(RootPolicyTest, WritesNothingThatIsReadAsSomethingElse) {
  RootPolicy policy;
  policy.keep = {"/etc/x\nkeep /etc/shadow"};
  EXPECT_EQ(serialise_root_policy(policy).error().code, ErrorCode::kInvalidInput);
}

TEST(RootPolicyTest, WhatIsKept) {
  const std::vector<std::string> keep = {"/etc/machine-id", "/etc/ssh/ssh_host_*",
                                         "/etc/NetworkManager/system-connections", "/etc/w?"};
  for (const char* path :
       {"/etc/machine-id", "/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_",
        "/etc/NetworkManager/system-connections", "/etc/NetworkManager/system-connections/a/b",
        "/etc/wg/x/y", "/etc/wg"}) {
    EXPECT_TRUE(is_kept(keep, path)) << path;
  }
  for (const char* path : {"/etc", "/etc/machine-id-", "/etc/ssh", "/etc/ssh/sshd_config",
                           "/etc/ssh/x/ssh_host_rsa_key", "/etc/NetworkManager",
                           "/etc/NetworkManager/x", "/etc/w", "/etc/wgx", "/etc/x/machine-id"}) {
    EXPECT_FALSE(is_kept(keep, path)) << path;
  }
}

TEST(RootPolicyTest, TheCommandLineOnlyTightens) {
  const std::vector<EtcMode> modes = {EtcMode::kMerge, EtcMode::kOverlay, EtcMode::kTransient,
                                      EtcMode::kReadOnly};
  for (size_t own = 0; own < modes.size(); ++own) {
    for (size_t asked = 0; asked < modes.size(); ++asked) {
      RootPolicy policy;
      policy.etc = modes[own];
      BootOptions options;
      options.etc = modes[asked];
      Result<RootPolicy> result = tightened(policy, options);
      ASSERT_EQ(result.has_value(), asked >= own);
      if (result) {
        EXPECT_EQ(result->etc, modes[asked]);
      } else {
        EXPECT_THAT(result.error().describe(), HasSubstr("is looser"));
      }
    }
  }
  BootOptions options;
  RootPolicy transient;
  transient.root = RootMode::kTransient;
  EXPECT_EQ(tightened(transient, options).value(), transient);
  options.root_mode = RootMode::kReadOnly;
  EXPECT_EQ(tightened(transient, options)->root, RootMode::kReadOnly);
  options.root_mode = RootMode::kTransient;
  EXPECT_FALSE(tightened(RootPolicy(), options));
}

}  // namespace
}  // namespace cfs::kernel_cmdline

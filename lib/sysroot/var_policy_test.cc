// SPDX-License-Identifier: Apache-2.0
#include "lib/sysroot/var_policy.h"

#include <gtest/gtest.h>

namespace cfs::sysroot {
namespace {

TEST(VarPolicy, TheNearestRuleDecides) {
  const std::vector<VarRule> rules = {{"/var/lib", VarPolicy::kReplaced},
                                      {"/var/lib/app", VarPolicy::kMissingOnly},
                                      {"/var/lib/app/x", VarPolicy::kReplacedUnlessChanged}};
  EXPECT_EQ(policy_of(rules, "/var"), VarPolicy::kMissingOnly);
  EXPECT_EQ(policy_of(rules, "/var/library"), VarPolicy::kMissingOnly);
  EXPECT_EQ(policy_of(rules, "/var/lib"), VarPolicy::kReplaced);
  EXPECT_EQ(policy_of(rules, "/var/lib/other/x"), VarPolicy::kReplaced);
  EXPECT_EQ(policy_of(rules, "/var/lib/app"), VarPolicy::kMissingOnly);
  EXPECT_EQ(policy_of(rules, "/var/lib/app/x/y"), VarPolicy::kReplacedUnlessChanged);
}

TEST(VarPolicy, WhatIsWrittenIsRead) {
  const std::string text = serialise_var_rules({{"/var/www", VarPolicy::kReplacedUnlessChanged},
                                                {"/var/lib/a b", VarPolicy::kReplaced},
                                                {"/var/cache", VarPolicy::kMissingOnly}})
                               .value();
  EXPECT_EQ(text,
            "cfs-var 1\nmissing-only /var/cache\nreplaced /var/lib/a b\n"
            "replaced-unless-changed /var/www\n");
  EXPECT_EQ(serialise_var_rules(parse_var_rules(text).value()).value(), text);
  EXPECT_TRUE(parse_var_rules("cfs-var 1\n").value().empty());
}

TEST(VarPolicy, WhatIsNotExactlyThatIsRefused) {
  for (const std::string text :
       {"", "cfs-var 1", "cfs-var 2\n", "cfs-var 1\n\n", "cfs-var 1\nreplaced /var/a",
        "cfs-var 1\nreplaced\n", "cfs-var 1\nreplaced /var\n", "cfs-var 1\nreplaced /var/\n",
        "cfs-var 1\nreplaced /etc/a\n", "cfs-var 1\nreplaced /var/a/../b\n",
        "cfs-var 1\nreplaced  /var/a\n", "cfs-var 1\nalways /var/a\n",
        "cfs-var 1\nreplaced /var/b\nreplaced /var/a\n",
        "cfs-var 1\nreplaced /var/a\nmissing-only /var/a\n"}) {
    Result<std::vector<VarRule>> rules = parse_var_rules(text);
    ASSERT_FALSE(rules) << text;
    EXPECT_EQ(rules.error().code, ErrorCode::kCorrupt);
  }
  for (const std::vector<VarRule>& rules :
       std::vector<std::vector<VarRule>>{{{.path = "/var/a\nreplaced /var/b"}},
                                         {{.path = "/var/a"}, {.path = "/var/a"}},
                                         {{.path = "/usr"}}}) {
    Result<std::string> text = serialise_var_rules(rules);
    ASSERT_FALSE(text);
    EXPECT_EQ(text.error().code, ErrorCode::kInvalidInput);
  }
}

}  // namespace
}  // namespace cfs::sysroot

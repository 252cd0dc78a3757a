// SPDX-License-Identifier: Apache-2.0
#include "builder/reports/var.h"

#include <gtest/gtest.h>

namespace cfs::builder {
namespace {

using sysroot::VarPolicy;

TEST(VarReport, SaysWhatIsNotUpdated) {
  std::vector<sysroot::VarRule> shipped = {{"/var/a", VarPolicy::kMissingOnly},
                                           {"/var/b", VarPolicy::kReplaced},
                                           {"/var/c", VarPolicy::kReplacedUnlessChanged}};
  EXPECT_EQ(var_report(shipped),
            "missing-only /var/a\nreplaced /var/b\nreplaced-unless-changed /var/c\n");
  EXPECT_EQ(var_summary(shipped),
            "var      1 of 3 files stay as they are on devices that have them (var.txt): /var/a\n");
  for (const char* path : {"/var/d", "/var/e", "/var/f", "/var/g"})
    shipped.push_back({.path = path});
  EXPECT_EQ(var_summary(shipped),
            "var      5 of 7 files stay as they are on devices that have them (var.txt): /var/a, "
            "/var/d, /var/e and 2 more\n");
  EXPECT_EQ(var_summary({{"/var/b", VarPolicy::kReplaced}}), "");
  EXPECT_EQ(var_report({}), "");
}

}  // namespace
}  // namespace cfs::builder

// SPDX-License-Identifier: Apache-2.0
#include "deployer/var/delivered.h"

#include <gtest/gtest.h>

namespace cfs::deployer {
namespace {

using sysroot::VarPolicy;

Fingerprint fingerprint(char digit) { return Fingerprint::parse(std::string(64, digit)).value(); }

TEST(DeliveryRecord, WhatIsWrittenIsRead) {
  DeliveryRecord record;
  record.image = fingerprint('a');
  record.entries["."] = {.fingerprints = {fingerprint('1')}};
  record.entries["lib/a b,c"] = {.policy = VarPolicy::kReplaced,
                                 .fingerprints = {fingerprint('2'), fingerprint('3')},
                                 .or_nothing = true,
                                 .or_any_directory = true};
  record.entries["\xff"] = {.policy = VarPolicy::kReplacedUnlessChanged, .or_nothing = true};
  const std::string text = serialise_delivery_record(record);
  EXPECT_EQ(text, "cfs-var-delivered 1\nimage " + std::string(64, 'a') + "\nmissing-only " +
                      std::string(64, '1') + " .\nreplaced -,*," + std::string(64, '2') + "," +
                      std::string(64, '3') + " lib/a b,c\nreplaced-unless-changed - \xff\n");
  EXPECT_EQ(parse_delivery_record(text).value(), record);
  record.image.reset();
  EXPECT_EQ(parse_delivery_record(serialise_delivery_record(record)).value(), record);
}

TEST(DeliveryRecord, WhatIsNotExactlyThatIsCorrupt) {
  const std::string head = "cfs-var-delivered 1\nimage -\n";
  const std::string hex(64, '1');
  ASSERT_TRUE(parse_delivery_record(head));
  for (const std::string& text :
       {std::string(), std::string("cfs-var-delivered 2\nimage -\n"),
        std::string("cfs-var-delivered 1\n"), std::string("cfs-var-delivered 1\nimage 12\n"),
        head + "missing-only " + hex + " a", head + "missing-only " + hex + "\n",
        head + "missing-only  a\n", head + "missing-only " + hex + " \n",
        head + "missing-only " + hex + " ../a\n", head + "missing-only " + hex + " /a\n",
        head + "missing-only " + hex + ", a\n", head + "missing-only -,- a\n",
        head + "missing-only " + hex + "," + hex + " a\n", head + "always " + hex + " a\n",
        head + "missing-only - a\nmissing-only - a\n", head + "\n"}) {
    Result<DeliveryRecord> record = parse_delivery_record(text);
    ASSERT_FALSE(record) << text;
    EXPECT_EQ(record.error().code, ErrorCode::kCorrupt);
  }
}

}  // namespace
}  // namespace cfs::deployer

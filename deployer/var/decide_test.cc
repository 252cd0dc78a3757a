// SPDX-License-Identifier: Apache-2.0
#include "deployer/var/decide.h"

#include <gtest/gtest.h>

#include <vector>

namespace cfs::deployer {
namespace {

using sysroot::VarPolicy;

constexpr VarPolicy kPolicies[] = {VarPolicy::kMissingOnly, VarPolicy::kReplacedUnlessChanged,
                                   VarPolicy::kReplaced};

/// An entry whose content is `digit`.
Entry entry(char digit, mode_t type = S_IFREG) {
  Entry one;
  one.status.st_mode = type;
  one.fingerprint = Fingerprint::parse(std::string(64, digit)).value();
  return one;
}

const Entry kOld = entry('1');
const Entry kNew = entry('2');
const Entry kLocal = entry('3');
const Entry kDirectory = entry('4', S_IFDIR);
const Entry kOtherDirectory = entry('5', S_IFDIR);

Delivered left(const Entry& what, VarPolicy policy = VarPolicy::kMissingOnly) {
  return {.policy = policy, .fingerprints = {what.fingerprint}};
}

/// The steps with the three policies.
std::vector<VarStep> steps(const Entry* shipped, const Entry* found, const Delivered* before) {
  std::vector<VarStep> result;
  for (VarPolicy policy : kPolicies) result.push_back(decide({shipped, found, before, policy}));
  return result;
}

std::vector<VarStep> all(VarStep step) { return {step, step, step}; }

TEST(Decide, WhatIsAlreadySoNeedsNothing) {
  const Delivered before = left(kOld);
  EXPECT_EQ(steps(&kNew, &kNew, nullptr), all(VarStep::kNothing));
  EXPECT_EQ(steps(&kNew, &kNew, &before), all(VarStep::kNothing));
  EXPECT_EQ(steps(nullptr, nullptr, &before), all(VarStep::kNothing));
}

TEST(Decide, WhatIsMissingArrives) {
  EXPECT_EQ(steps(&kNew, nullptr, nullptr), all(VarStep::kPut));
  EXPECT_EQ(steps(&kDirectory, nullptr, nullptr), all(VarStep::kPut));
}

TEST(Decide, WhatAnEarlierReleaseBroughtIsReplacedIfThePolicySaysSo) {
  const Delivered before = left(kOld);
  EXPECT_EQ(steps(&kNew, &kOld, &before),
            (std::vector{VarStep::kLeave, VarStep::kPut, VarStep::kPut}));
  // It was replaced, and is undone by a release with a weaker policy.
  const Delivered replaced = left(kOld, VarPolicy::kReplacedUnlessChanged);
  EXPECT_EQ(steps(&kNew, &kOld, &replaced), all(VarStep::kPut));
}

TEST(Decide, WhatTheDeviceHasChangedStaysUnlessItIsReplaced) {
  const std::vector<VarStep> stays = {VarStep::kLeave, VarStep::kLeave, VarStep::kPut};
  for (VarPolicy policy : kPolicies) {
    const Delivered before = left(kOld, policy);
    EXPECT_EQ(steps(&kNew, &kLocal, &before), stays);
    EXPECT_EQ(steps(&kNew, nullptr, &before), stays) << "removed";
    EXPECT_EQ(steps(&kDirectory, &kOtherDirectory, &before), stays);
    EXPECT_EQ(steps(nullptr, &kLocal, &before), all(VarStep::kLeave));
  }
  EXPECT_EQ(steps(&kNew, &kLocal, nullptr), stays) << "its own";
  EXPECT_EQ(steps(nullptr, &kLocal, nullptr), all(VarStep::kLeave));
}

TEST(Decide, ADirectoryThatWasRemovedIsMadeAgain) {
  const Delivered before = left(kDirectory);
  EXPECT_EQ(steps(&kDirectory, nullptr, &before), all(VarStep::kPut));
}

TEST(Decide, WhatIsNotShippedAnyMoreGoesIfItIsUnchanged) {
  const Delivered before = left(kOld);
  EXPECT_EQ(steps(nullptr, &kOld, &before), all(VarStep::kRemove));
}

TEST(Decide, AfterADeliveryThatWasCutOffBothAreUnchanged) {
  Delivered before = left(kOld, VarPolicy::kReplacedUnlessChanged);
  before.fingerprints.insert(kNew.fingerprint);
  EXPECT_EQ(steps(&kOld, &kNew, &before), all(VarStep::kPut));
  EXPECT_EQ(steps(&kNew, &kOld, &before), all(VarStep::kPut));
  before.or_nothing = true;
  EXPECT_EQ(steps(&kOld, nullptr, &before), all(VarStep::kPut));
  const Delivered any{.policy = VarPolicy::kReplacedUnlessChanged, .or_any_directory = true};
  EXPECT_EQ(steps(&kDirectory, &kOtherDirectory, &any), all(VarStep::kPut));
  EXPECT_EQ(steps(&kDirectory, &kLocal, &any),
            (std::vector{VarStep::kLeave, VarStep::kLeave, VarStep::kPut}));
}

}  // namespace
}  // namespace cfs::deployer

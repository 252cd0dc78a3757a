// SPDX-License-Identifier: Apache-2.0
#include "initramfs/find_root.h"

#include <gmock/gmock.h>

namespace cfs::initramfs {
namespace {

using ::testing::HasSubstr;
using ::testing::Optional;

const Candidate kOnBootDisk{.path = "/dev/a", .is_on_boot_disk = true};
const Candidate kElsewhere{.path = "/dev/b", .is_on_boot_disk = false};

std::optional<size_t> choose(const std::vector<Candidate>& candidates, BootDisk boot_disk,
                             bool is_last_look = false) {
  Result<std::optional<size_t>> chosen = choose_candidate(candidates, boot_disk, is_last_look);
  EXPECT_TRUE(chosen) << chosen.error().describe();
  return chosen ? *chosen : std::nullopt;
}

TEST(ChooseCandidate, TheOnlyOne) {
  for (BootDisk disk : {BootDisk::kUnknown, BootDisk::kHere}) {
    EXPECT_THAT(choose({kElsewhere}, disk), Optional(0U));
  }
  EXPECT_THAT(choose({kOnBootDisk}, BootDisk::kAwaited), Optional(0U));
  EXPECT_EQ(choose({}, BootDisk::kUnknown), std::nullopt);
  EXPECT_EQ(choose({}, BootDisk::kHere, true), std::nullopt);
}

TEST(ChooseCandidate, WaitsForTheDiskThatTheFirmwareBootedFrom) {
  EXPECT_EQ(choose({kElsewhere}, BootDisk::kAwaited), std::nullopt);
  EXPECT_THAT(choose({kElsewhere}, BootDisk::kAwaited, true), Optional(0U));
  EXPECT_THAT(choose({kElsewhere, kOnBootDisk}, BootDisk::kAwaited), Optional(1U));
  EXPECT_THAT(choose({kOnBootDisk, kElsewhere, kElsewhere}, BootDisk::kHere), Optional(0U));
}

TEST(ChooseCandidate, RefusesToGuess) {
  for (BootDisk disk : {BootDisk::kUnknown, BootDisk::kHere}) {
    std::vector<Candidate> two = {kElsewhere, {.path = "/dev/c", .is_on_boot_disk = false}};
    Result<std::optional<size_t>> chosen = choose_candidate(two, disk, false);
    ASSERT_FALSE(chosen);
    EXPECT_THAT(chosen.error().message, HasSubstr("'/dev/b', '/dev/c'"));
  }
  EXPECT_FALSE(choose_candidate(std::vector{kOnBootDisk, kOnBootDisk}, BootDisk::kHere, false));
}

}  // namespace
}  // namespace cfs::initramfs

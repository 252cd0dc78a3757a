// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/systemd_boot_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "lib/base/subprocess.h"

namespace cfs::boot {
namespace {

LoaderFile file(std::string name, std::optional<Tries> tries = {}) {
  return {.name = std::move(name), .sort_key = "debian", .version = "1", .tries = tries};
}

std::string chosen_name(const std::vector<LoaderFile>& files, const LoaderChoice& choice) {
  std::optional<ChosenFile> chosen = choose_file(files, choice);
  return chosen ? files[chosen->index].name : "";
}

TEST(SystemdBootChoice, AnEntryWithoutTriesGivesWay) {
  const LoaderChoice choice{.configured = "cfs_2_b.0[+.][1-9e]*"};
  const LoaderFile good = file("cfs_1_a.0.efi");
  const LoaderFile parked = file("cfs_9_z.0+0.efi", Tries{0, 0});
  EXPECT_EQ(chosen_name({good, parked, file("cfs_2_b.0.efi")}, choice), "cfs_2_b.0.efi");
  EXPECT_EQ(chosen_name({good, parked, file("CFS_2_B.0+3.EFI", Tries{3, 0})}, choice),
            "CFS_2_B.0+3.EFI");
  EXPECT_EQ(chosen_name({good, parked, file("cfs_2_b.0+10-1.efi", Tries{10, 1})}, choice),
            "cfs_2_b.0+10-1.efi");
  EXPECT_EQ(chosen_name({good, parked, file("cfs_2_b.0+0-3.efi", Tries{0, 3})}, choice),
            "cfs_1_a.0.efi");
  EXPECT_EQ(chosen_name({good, parked, file("cfs_2_b.00.efi")}, choice), "cfs_2_b.00.efi");
  EXPECT_EQ(chosen_name({parked}, choice), "cfs_9_z.0+0.efi");
  EXPECT_EQ(chosen_name({}, choice), "");
}

TEST(SystemdBootChoice, TheFirmwaresVariablesComeFirst) {
  const std::vector<LoaderFile> files{file("a.efi"), file("b.efi"), file("c+0-3.efi", Tries{0, 3})};
  LoaderChoice choice{.one_shot = "C+0-3.efi", .firmware_default = "b*", .configured = "a*"};
  EXPECT_EQ(chosen_name(files, choice), "c+0-3.efi");
  EXPECT_EQ(choose_file(files, choice)->reason, NextBoot::Reason::kOneShot);
  choice.one_shot = "gone.efi";
  EXPECT_EQ(chosen_name(files, choice), "b.efi");
  EXPECT_EQ(choose_file(files, choice)->reason, NextBoot::Reason::kFirmwareDefault);
  choice.firmware_default = "";
  EXPECT_EQ(chosen_name(files, choice), "a.efi");
  EXPECT_EQ(choose_file(files, choice)->reason, NextBoot::Reason::kChosen);
  choice.configured = "gone*";
  EXPECT_EQ(choose_file(files, choice)->reason, NextBoot::Reason::kFirst);
}

TEST(SystemdBootChoice, SortsAsTheBootLoaderSpecificationSays) {
  LoaderFile a = file("a.efi");
  LoaderFile b = file("b.efi");
  EXPECT_EQ(chosen_name({a, b}, {}), "b.efi");
  a.version = "1.10";
  b.version = "1.9";
  EXPECT_EQ(chosen_name({a, b}, {}), "a.efi");
  b.sort_key = "aaa";
  EXPECT_EQ(chosen_name({a, b}, {}), "b.efi");
  b.sort_key = "";
  EXPECT_EQ(chosen_name({a, b}, {}), "a.efi");
}

TEST(SystemdBootChoice, ReadsSortingFields) {
  LoaderFile one;
  read_sorting_fields("ID=debian\nVERSION_ID=\"12\"\nBUILD_ID=x\n", one);
  EXPECT_EQ(one.sort_key + " " + one.version, "debian 12");
  read_sorting_fields("ID=debian\nIMAGE_ID='image'\nIMAGE_VERSION=7\nVERSION=\"12 (b)\"\n", one);
  EXPECT_EQ(one.sort_key + " " + one.version, "image 7");
}

// The judge: systemd's own comparison.
TEST(CompareVersions, AgreesWithSystemd) {
  constexpr std::string_view kAlphabet = "0123910ab.-~^_+";
  std::mt19937 random(7);
  auto text = [&] {
    std::string result;
    for (size_t size = 1 + random() % 7; size > 0; --size) {
      result += kAlphabet[random() % kAlphabet.size()];
    }
    return "1" + result;
  };
  for (int round = 0; round < 300; ++round) {
    const std::string a = text();
    const std::string b = random() % 4 == 0 ? a + text() : text();
    Result<std::string> said = run_command(
        {.arguments = {"sh", "-c", "systemd-analyze compare-versions \"$0\" \"$1\" || true", a, b},
         .environment = {},
         .working_directory = ""});
    ASSERT_TRUE(said) << said.error().describe();
    int order = compare_versions(a, b);
    ASSERT_EQ(*said, a + (order < 0 ? " < " : order > 0 ? " > " : " == ") + b + "\n");
  }
}

}  // namespace
}  // namespace cfs::boot

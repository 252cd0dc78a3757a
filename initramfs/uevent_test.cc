// SPDX-License-Identifier: Apache-2.0
#include "initramfs/uevent.h"

#include <gtest/gtest.h>

#include <chrono>

namespace cfs::initramfs {
namespace {

TEST(UeventValue, IsThatOfTheWholeKey) {
  constexpr const char* kText =
      "DRIVER=mmcblk\nPARTNAME=x\nPARTN=2\nMODALIAS=mmc:block\nEMPTY=\nNOT";
  EXPECT_EQ(uevent_value(kText, "MODALIAS"), "mmc:block");
  EXPECT_EQ(uevent_value(kText, "PARTN"), "2");
  EXPECT_EQ(uevent_value(kText, "EMPTY"), "");
  EXPECT_EQ(uevent_value(kText, "NOT"), "");
  EXPECT_EQ(uevent_value("", "A"), "");
  EXPECT_EQ(uevent_value("\n\n", ""), "");
}

TEST(DeviceEvents, TimeIsAnEvent) {
  DeviceEvents events;
  const auto start = std::chrono::steady_clock::now();
  events.wait(20);
  events.wait(0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

}  // namespace
}  // namespace cfs::initramfs

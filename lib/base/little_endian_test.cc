// SPDX-License-Identifier: Apache-2.0
#include "lib/base/little_endian.h"

#include <gtest/gtest.h>

#include <cstring>

namespace cfs {
namespace {

TEST(LittleEndian, StoresLowestByteFirst) {
  le32 value = 0x01020304;
  uint8_t raw[4];
  std::memcpy(raw, &value, 4);
  EXPECT_EQ(raw[0], 4);
  EXPECT_EQ(value, 0x01020304U);
}

}  // namespace
}  // namespace cfs

// SPDX-License-Identifier: Apache-2.0
#include "lib/base/progress.h"

#include <gtest/gtest.h>

namespace cfs {
namespace {

TEST(FormatBytes, UsesSiUnits) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1500), "1.5 kB");
  EXPECT_EQ(format_bytes(12'300'000), "12.3 MB");
}

TEST(ProgressLine, SaysWhatIsKnown) {
  constexpr auto kBytes = Progress::Unit::kBytes;
  EXPECT_EQ(progress_line("fetching", "", 12'300'000, 30'000'000, kBytes, 3),
            "fetching  41%  12.3 MB/30.0 MB  4.1 MB/s  ETA 4 s");
  EXPECT_EQ(progress_line("reading", "", 2000, 0, kBytes, 2), "reading  2.0 kB  1.0 kB/s");
  EXPECT_EQ(progress_line("unpacking", "dpkg", 40, 100, Progress::Unit::kItems, 4),
            "unpacking  dpkg  40%  40/100  10/s  ETA 6 s");
  // Nothing counted yet says nothing about the rate.
  EXPECT_EQ(progress_line("installing", "extracting archives", 0, 0, kBytes, 40),
            "installing  extracting archives");
}

}  // namespace
}  // namespace cfs

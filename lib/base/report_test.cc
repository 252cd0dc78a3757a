// SPDX-License-Identifier: Apache-2.0
#include "lib/base/report.h"

#include <gtest/gtest.h>

namespace cfs {
namespace {

TEST(ReportTest, NamesCannotDriveTheTerminal) {
  testing::internal::CaptureStderr();
  int status = report_error(
      "cfs",
      make_error(ErrorCode::kCorrupt, "'a\x1b[2J\x07\x7f\xc2\x9b ' é€\tb").with_hint("line\nline"));
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "cfs: error: 'a?[2J???? ' é€\tb\ncfs: hint: line\n  line\n");
  EXPECT_EQ(status, 7);
}

}  // namespace
}  // namespace cfs

// SPDX-License-Identifier: Apache-2.0
#include "lib/base/error.h"

#include <gtest/gtest.h>

#include "lib/base/result.h"

namespace cfs {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return make_error(ErrorCode::kInvalidInput, "odd");
  return value / 2;
}
Result<int> quarter(int value) { return CFS_TRY(half(CFS_TRY(half(value)))); }

TEST(Result, TryPassesValuesAndErrors) {
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(6).error().message, "odd");
}

TEST(Error, DescribesErrnoAndContext) {
  Error error = errno_error("cannot open 'x'", ENOENT).with("while reading 'y'");
  EXPECT_EQ(error.code, ErrorCode::kNotFound);
  EXPECT_EQ(error.describe(), "cannot open 'x': No such file or directory (while reading 'y')");
}

TEST(Error, ExitStatusesAreThoseOfTheDocumentation) {
  // docs/ERRORS.md
  EXPECT_EQ(exit_status(ErrorCode::kInternal), 1);
  EXPECT_EQ(exit_status(ErrorCode::kBusy), 1);
  EXPECT_EQ(exit_status(ErrorCode::kUsage), 2);
  EXPECT_EQ(exit_status(ErrorCode::kRollback), 6);
  EXPECT_EQ(exit_status(ErrorCode::kDigestMismatch), 7);
  EXPECT_EQ(exit_status(ErrorCode::kNetwork), 8);
  EXPECT_EQ(exit_status(ErrorCode::kNoSpace), 9);
  EXPECT_EQ(exit_status(ErrorCode::kNothingToDo), 10);
}

TEST(Error, ErrnoSaysWhichKindOfErrorItIs) {
  EXPECT_EQ(errno_error("x", ENOENT).code, ErrorCode::kNotFound);
  EXPECT_EQ(errno_error("x", ENOSPC).code, ErrorCode::kNoSpace);
  EXPECT_EQ(errno_error("x", EDQUOT).code, ErrorCode::kNoSpace);
  EXPECT_EQ(errno_error("x", EROFS).code, ErrorCode::kPermission);
  EXPECT_EQ(errno_error("x", EEXIST).code, ErrorCode::kExists);
  EXPECT_EQ(errno_error("x", EINTR).code, ErrorCode::kInterrupted);
  EXPECT_EQ(errno_error("x", EIO).code, ErrorCode::kIo);
  EXPECT_EQ(errno_error("x", EIO).sys_errno, EIO);
}

}  // namespace
}  // namespace cfs

// SPDX-License-Identifier: Apache-2.0
#include "lib/base/error_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cfs {
namespace {

using testing::EndsWith;
using testing::StartsWith;

Error error(const std::string& message, const std::string& hint = "") {
  return make_error(ErrorCode::kNotFound, message).with_hint(hint);
}

TEST(ErrorList, OneStaysAsItIs) {
  Error one = combine_errors("'m'", {error("a", "b")});
  EXPECT_EQ(one.message, "a");
  EXPECT_EQ(one.hint, "b");
}

TEST(ErrorList, SeveralAreLinesWithTheirHints) {
  Error all = combine_errors("'m'", {error("a", "b"), error("c")});
  EXPECT_EQ(all.code, ErrorCode::kNotFound);
  EXPECT_EQ(all.message, "'m' has 2 errors:\na (b)\nc");
  EXPECT_EQ(all.hint, "");
}

TEST(ErrorList, TwentyAreEnough) {
  std::vector<Error> errors;
  for (int i = 1; i <= 27; ++i) errors.push_back(error("number " + std::to_string(i)));
  Error all = combine_errors("'m'", std::move(errors));
  EXPECT_THAT(all.message, StartsWith("'m' has 27 errors, of which the first 20 are:\nnumber 1\n"));
  EXPECT_THAT(all.message, EndsWith("\nnumber 20"));
}

}  // namespace
}  // namespace cfs

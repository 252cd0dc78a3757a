// SPDX-License-Identifier: Apache-2.0
#include "lib/command/program.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace cfs {
namespace {

TEST(Program, AnExceptionIsOneErrorAndNotTheEnd) {
  char name[] = "tool";
  char* argv[] = {name, nullptr};
  testing::internal::CaptureStderr();
  int status = run_program(
      "tool",
      [](const std::vector<std::string>&, const Io&) -> Result<int> {
        throw std::out_of_range("map::at");
      },
      1, argv);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "tool: error: exception: map::at\n");
  EXPECT_EQ(status, 1);
}

}  // namespace
}  // namespace cfs

// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/kernel_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/kernel_cmdline/boot_options.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(KernelOptions, TheDigestComesLast) {
  verity::Digest digest;
  EXPECT_EQ(kernel_command_line({"quiet", "panic=10"}, digest).value(),
            "quiet panic=10 systemd.gpt_auto=0 composefs.digest=" + digest.hex());
  EXPECT_EQ(kernel_command_line({}, digest).value(),
            "systemd.gpt_auto=0 composefs.digest=" + digest.hex());
}

TEST(KernelOptions, ForeignPartitionsAreMountedOnRequestOnly) {
  verity::Digest digest;
  EXPECT_EQ(kernel_command_line({"systemd.gpt_auto=1"}, digest).value(),
            "systemd.gpt_auto=1 composefs.digest=" + digest.hex());
}

TEST(KernelOptions, WhatHidesTheDigestIsRefused) {
  for (const char* option : {"--", "a=\"b"}) {
    Result<std::string> line = kernel_command_line({option}, verity::Digest());
    ASSERT_FALSE(line) << option;
    EXPECT_THAT(line.error().hint, HasSubstr("must be seen by the kernel"));
  }
  for (const char* option : {"cfs.verify=none", "rootdelay=x", "root=vda", "cfs.verfy=full"}) {
    Result<std::string> line = kernel_command_line({option}, verity::Digest());
    ASSERT_FALSE(line) << option;
    EXPECT_THAT(line.error().hint, Not(HasSubstr("composefs.digest"))) << option;
  }
  EXPECT_FALSE(kernel_command_line({"caf\xc3\xa9"}, verity::Digest()));
  EXPECT_FALSE(kernel_command_line({std::string(kernel_cmdline::kMaxCommandLineBytes, 'x')},
                                   verity::Digest()));
}

}  // namespace
}  // namespace cfs::builder

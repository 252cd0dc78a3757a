// SPDX-License-Identifier: Apache-2.0
#include "builder/boot_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "builder/test_support.h"
#include "lib/boot/uki.h"

namespace cfs::builder {
namespace {

using testing::HasSubstr;

TEST(BootPrograms, WhatCannotBeUsedIsNamed) {
  Workbench bench;
  bench.write("init", static_program("init"));
  bench.write("script", "#!init");
  bench.write("text", "not a program");
  for (const auto& [init, stub] : {std::pair("none", "text"),
                                   {"init", "none"},
                                   {"init", "text"},
                                   {"init", "."},
                                   {".", "."},
                                   {"script", boot::kSystemdStubPath}}) {
    Result<BootPrograms> refused = read_boot_programs(bench.path(init), bench.path(stub));
    ASSERT_FALSE(refused) << init << " " << stub;
    bool is_init = std::string(init) != "init";
    EXPECT_THAT(refused.error().describe(), HasSubstr(bench.path(is_init ? init : stub)));
  }
  BootPrograms programs = must(read_boot_programs(bench.path("init"), boot::kSystemdStubPath));
  EXPECT_EQ(programs.mount_root, static_program("init"));
}

}  // namespace
}  // namespace cfs::builder

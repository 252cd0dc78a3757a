// SPDX-License-Identifier: Apache-2.0
#include "builder/boot/cpio.h"

#include <gtest/gtest.h>

#include "builder/test_support.h"
#include "lib/base/subprocess.h"

namespace cfs::builder {
namespace {

// GNU cpio is the judge.
TEST(Cpio, IsReadByGnuCpio) {
  Workbench bench;
  CpioWriter writer;
  writer.add("a", S_IFDIR | 0755, "");
  writer.add("a/program", S_IFREG | 0755, "12345");
  writer.add("empty", S_IFREG | 0600, "");
  std::string archive = writer.finish();
  EXPECT_EQ(archive.size() % 4, 0U);
  bench.write("archive", archive);
  UniqueFd fd = must(open_at(AT_FDCWD, bench.path("archive"), O_RDONLY));
  must(make_directories(AT_FDCWD, bench.path("out")));
  must(run_command({.arguments = {"cpio", "--quiet", "-im", "--no-preserve-owner"},
                    .working_directory = bench.path("out"),
                    .stdin_fd = fd.get()}));
  EXPECT_EQ(must(read_file(AT_FDCWD, bench.path("out/a/program"), 100)), "12345");
  struct stat program = must(stat_at(AT_FDCWD, bench.path("out/a/program"), 0));
  EXPECT_EQ(program.st_mode, S_IFREG | 0755U);
  EXPECT_EQ(program.st_mtime, 0);
  EXPECT_EQ(must(read_file(AT_FDCWD, bench.path("out/empty"), 100)), "");
}

TEST(Cpio, StartsAnewAfterFinish) {
  CpioWriter writer;
  writer.add("a", S_IFREG | 0644, "x");
  std::string first = writer.finish();
  writer.add("a", S_IFREG | 0644, "x");
  EXPECT_EQ(writer.finish(), first);
}

}  // namespace
}  // namespace cfs::builder

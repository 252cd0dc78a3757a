// SPDX-License-Identifier: Apache-2.0
#include "lib/base/command_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "lib/base/io.h"

namespace cfs {
namespace {

std::string content_of(int fd) {
  std::string content(200'000, '\0');
  size_t count = pread_full(fd, std::as_writable_bytes(std::span(content)), 0).value();
  return content.substr(0, count);
}

TEST(CommandIo, PrintWritesAtOnceAndTextOutputCollects) {
  UniqueFd out(::memfd_create("out", MFD_CLOEXEC));
  ASSERT_TRUE(print({.in_fd = -1, .out_fd = out.get()}, "one\n"));
  TextOutput text(out.get());
  ASSERT_TRUE(text.write("two\n"));
  EXPECT_EQ(content_of(out.get()), "one\n");
  ASSERT_TRUE(text.flush());
  EXPECT_EQ(content_of(out.get()), "one\ntwo\n");
  std::string large(100'000, 'x');
  ASSERT_TRUE(text.write(large));
  EXPECT_EQ(content_of(out.get()), "one\ntwo\n" + large);
}

// Not kNoSpace: no disk is full on which the user could make room for the command.
TEST(CommandIo, ALostResultIsAFailureToPrintAndNothingElse) {
  UniqueFd full = open_at(AT_FDCWD, "/dev/full", O_WRONLY).value();
  UniqueFd closed = open_at(AT_FDCWD, "/dev/null", O_RDONLY).value();
  for (const auto& [fd, reason] : {std::pair(full.get(), ENOSPC), std::pair(closed.get(), EBADF)}) {
    Error lost = print({.in_fd = -1, .out_fd = fd}, "x").error();
    EXPECT_EQ(lost.code, ErrorCode::kIo);
    EXPECT_EQ(lost.sys_errno, reason);
    EXPECT_EQ(lost.message, "cannot print the result on standard output");
    EXPECT_NE(lost.hint.find("nothing else failed"), std::string::npos);
    TextOutput text(fd);
    ASSERT_TRUE(text.write("x"));
    EXPECT_EQ(text.flush().error().describe(), lost.describe());
  }
}

}  // namespace
}  // namespace cfs

// SPDX-License-Identifier: Apache-2.0
#include "lib/base/command_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

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

TEST(CommandIo, ALostResultIsAnError) {
  UniqueFd full = open_at(AT_FDCWD, "/dev/full", O_WRONLY).value();
  EXPECT_EQ(print({.in_fd = -1, .out_fd = full.get()}, "x").error().code, ErrorCode::kNoSpace);
  TextOutput text(full.get());
  ASSERT_TRUE(text.write("x"));
  EXPECT_EQ(text.flush().error().code, ErrorCode::kNoSpace);
}

}  // namespace
}  // namespace cfs

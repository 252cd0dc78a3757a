// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <functional>
#include <string>
#include <vector>

#include "lib/base/io.h"
#include "tools/output.h"

namespace cfs::tools {

/// What a command run inside the test's process did.
struct Outcome {
  Result<> result;
  std::string output;
};

using Command = std::function<Result<>(const std::vector<std::string>&, const CommandIo&)>;

inline Outcome run(const Command& command, const std::vector<std::string>& arguments,
                   const std::string& input = "") {
  UniqueFd in(::memfd_create("in", MFD_CLOEXEC));
  UniqueFd out(::memfd_create("out", MFD_CLOEXEC));
  EXPECT_TRUE(write_full(in.get(), as_bytes(input)));
  EXPECT_EQ(::lseek(in.get(), 0, SEEK_SET), 0);
  Outcome outcome;
  outcome.result = command(arguments, {.in_fd = in.get(), .out_fd = out.get()});
  EXPECT_EQ(::lseek(out.get(), 0, SEEK_SET), 0);
  outcome.output = read_fd(out.get(), 64 << 20).value();
  return outcome;
}

/// A directory to work in, with the files most tests want.
class ToolTest : public testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const {
    return directory_.path() + "/" + name;
  }
  void write(const std::string& name, const std::string& content, mode_t mode = 0644) {
    ASSERT_TRUE(write_file_atomically(AT_FDCWD, path(name), as_bytes(content), mode));
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    return read_file(AT_FDCWD, path(name), 64 << 20).value();
  }
  [[nodiscard]] std::vector<std::string> names(const std::string& name) const {
    return list_directory(AT_FDCWD, path(name)).value();
  }

  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
};

}  // namespace cfs::tools

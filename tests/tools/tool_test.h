// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "lib/base/io.h"
#include "lib/command/captured_io.h"
#include "lib/command/program.h"

namespace cfs::tools {

/// What a command run inside the test's process did.
struct Outcome {
  Result<int> result;
  std::string output;
};

inline Outcome run(const CommandFunction& command, const std::vector<std::string>& arguments,
                   const std::string& input = "") {
  command::CapturedIo io(input);
  Result<int> result = command(arguments, io.io());
  return {std::move(result), io.output()};
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

// SPDX-License-Identifier: Apache-2.0
// For tests: small trees in a temporary directory, written and shown as maps.
#pragma once

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "lib/base/io.h"
#include "lib/base/temporary_directory.h"

namespace cfs::initramfs {

/// Path → what it is: the content of a file, "dir", "-> target" of a symlink, "device".
using Files = std::map<std::string, std::string>;

class EtcTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path(const std::string& name) const {
    return directory_.path() + "/" + name;
  }

  /// Makes the directory `tree` with these; parents come by themselves.
  void make(const std::string& tree, const Files& files) const {
    std::filesystem::create_directories(path(tree));
    for (const auto& [name, what] : files) {
      const std::string place = path(tree) + "/" + name;
      std::filesystem::create_directories(std::filesystem::path(place).parent_path());
      if (what == "dir") {
        std::filesystem::create_directories(place);
      } else if (what.starts_with("-> ")) {
        std::filesystem::create_symlink(what.substr(3), place);
      } else {
        std::ofstream(place) << what;
      }
    }
  }

  /// All that is below `tree`; of directories the empty ones.
  [[nodiscard]] Files show(const std::string& tree) const {
    Files files;
    const std::string top = path(tree);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(top)) {
      const std::string name = entry.path().string().substr(top.size() + 1);
      if (entry.is_symlink()) {
        files[name] = "-> " + std::filesystem::read_symlink(entry.path()).string();
      } else if (entry.is_directory()) {
        if (std::filesystem::is_empty(entry.path())) files[name] = "dir";
      } else if (entry.is_regular_file()) {
        files[name] = read_file(AT_FDCWD, entry.path(), 1 << 20).value();
      } else {
        files[name] = "device";
      }
    }
    return files;
  }

  [[nodiscard]] UniqueFd open(const std::string& name) const {
    return open_at(AT_FDCWD, path(name), O_RDONLY | O_DIRECTORY).value();
  }

 private:
  TemporaryDirectory directory_ = TemporaryDirectory::create().value();
};

}  // namespace cfs::initramfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/base/work_directory.h"

namespace cfs::builder {

/// `path` as an absolute path without symlinks, "." and "..", as far as it exists.
[[nodiscard]] Result<std::string> real_path(const std::string& path);

/// The directory that a build makes. It appears whole under its name, or not at all: until
/// publish() it is a WorkDirectory beside that.
class Output {
 public:
  /// `path`: real_path() of it. Missing parents are made.
  /// Errors: kExists (it is there, and is not the output of a build).
  [[nodiscard]] static Result<Output> create(const std::string& path);

  [[nodiscard]] int fd() const { return directory_.fd(); }

  /// Writes a new file.
  [[nodiscard]] Result<> write(const std::string& name, Bytes content) const;

  /// Makes `objects` a relative link to the store `path` (its real_path()), which is made if it is
  /// missing.
  [[nodiscard]] Result<> link_store(const std::string& path) const;

  /// Gives the directory its final name, in exchange for an earlier build's output if there is one.
  /// Errors: kExists as above; kInterrupted.
  [[nodiscard]] Result<> publish();

 private:
  Output(std::string final_path, WorkDirectory directory)
      : final_path_(std::move(final_path)), directory_(std::move(directory)) {}
  std::string final_path_;
  WorkDirectory directory_;
};

}  // namespace cfs::builder

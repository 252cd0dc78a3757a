// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "lib/base/result.h"
#include "lib/base/work_directory.h"

namespace cfs {

/// A WorkDirectory that nothing is published from, in the place for temporary files.
class TemporaryDirectory {
 public:
  /// `parent` empty: $TMPDIR or /tmp. The name is `prefix` and 16 hex digits.
  [[nodiscard]] static Result<TemporaryDirectory> create(std::string parent = "",
                                                         std::string_view prefix = "cfs-");
  /// Can be handed to child programs.
  [[nodiscard]] const std::string& path() const { return work_.path(); }

 private:
  explicit TemporaryDirectory(WorkDirectory work) : work_(std::move(work)) {}
  WorkDirectory work_;
};

}  // namespace cfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/io.h"
#include "lib/base/result.h"
#include "lib/base/subprocess.h"

namespace cfs::builder {

/// What apt shall look at.
struct AptQuery {
  std::string arch;
  std::vector<std::string> sources;  ///< lines of sources.list(5)
  std::vector<std::string> options;  ///< lines of apt.conf(5)
};

/// A package that apt has not got.
struct MissingPackage {
  std::string name;    ///< without version, suite and architecture
  std::string reason;  ///< "does not exist", "has no version '1.2'"
};

/// What apt-get says about packages that it cannot find. Spec: the "E: " lines of apt 2.x in the C
/// locale.
[[nodiscard]] std::vector<MissingPackage> parse_missing_packages(std::string_view errors);

/// The error of a mirror that cannot be reached or lacks the suite or a file, with apt's one line
/// that says so; nothing when `errors`, what apt-get or mmdebstrap printed, is about something
/// else.
[[nodiscard]] std::optional<Error> mirror_error(std::string_view errors);

/// The package lists of some sources, in a directory of their own: neither the lists of this
/// machine nor what is installed on it are used or changed. Removed at the end of scope.
class AptLists {
 public:
  /// Fetches the lists and appends to `transcript` what apt prints.
  /// Errors: those of mirror_error(); kSubprocess with apt's errors.
  [[nodiscard]] static Result<AptLists> fetch(const AptQuery& query, std::string& transcript);

  /// Those of `packages`, as apt-get(8) takes them, that cannot be found. Whether the others can be
  /// installed together is not looked at.
  [[nodiscard]] Result<std::vector<MissingPackage>> missing(
      const std::vector<std::string>& packages, std::string& transcript) const;

  /// The names of all packages, sorted.
  [[nodiscard]] Result<std::vector<std::string>> names() const;

 private:
  AptLists(TemporaryDirectory directory, std::vector<std::string> options)
      : directory_(std::move(directory)), options_(std::move(options)) {}
  [[nodiscard]] Command command(const char* program, std::vector<std::string> arguments) const;

  TemporaryDirectory directory_;
  std::vector<std::string> options_;  ///< of every apt command
};

}  // namespace cfs::builder

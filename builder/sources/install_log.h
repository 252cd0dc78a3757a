// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cfs::builder {

/// What `mmdebstrap --verbose` says while it installs, read line by line: which step it is in and
/// how far. Spec: the output of apt-get(8) and dpkg(1) in the C locale, and mmdebstrap's "I: "
/// lines.
class InstallLog {
 public:
  /// Takes the next line, without its end.
  void read(std::string_view line);

  /// The step: "downloading packages", "unpacking packages", "configuring packages", or what
  /// mmdebstrap says of itself ("extracting archives"). Empty before the first.
  [[nodiscard]] const std::string& step() const { return step_; }

  /// The step with its counts: "downloading packages: 12 of 97, 10.1 MB of 64.2 MB".
  [[nodiscard]] std::string describe() const;

 private:
  struct Count {
    uint64_t done = 0;
    uint64_t total = 0;
  };
  std::string step_;
  bool downloads_packages_ = false;  ///< else apt fetches lists
  Count packages_;
  Count bytes_;
  uint64_t unpacked_ = 0;
  uint64_t configured_ = 0;
};

}  // namespace cfs::builder

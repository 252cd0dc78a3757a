// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cfs::builder {

/// Writes a "newc" cpio archive, the form in which the kernel takes an initramfs. Owner 0:0, mtime
/// 0, inode numbers counted from 1: the same entries in the same order give the same bytes.
/// Spec: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
class CpioWriter {
 public:
  /// `path` relative, without a leading slash; parents must have been added before.
  /// `mode` with type bits; `content` only for regular files (< 4 GiB).
  void add(std::string_view path, uint32_t mode, std::string_view content);
  /// The archive with its trailer. The writer starts anew afterwards.
  [[nodiscard]] std::string finish();

 private:
  std::string archive_;
  uint32_t next_inode_ = 1;
};

}  // namespace cfs::builder

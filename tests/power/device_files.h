// SPDX-License-Identifier: Apache-2.0
// The files of a device's disk, read without mounting it and without a kernel that has fs-verity.
#pragma once

#include <memory>
#include <string>

#include "lib/base/directory.h"
#include "lib/base/result.h"
#include "lib/verity/merkle.h"

namespace cfs::power {

/// What lies below the directory of the sysroot. Paths are those of lib/sysroot/layout.h.
class DeviceFiles {
 public:
  virtual ~DeviceFiles() = default;

  /// Errors: kNotFound; kInvalidInput (not a symlink, not a regular file).
  [[nodiscard]] virtual Result<std::string> read_link(const std::string& path) = 0;
  [[nodiscard]] virtual Result<std::string> read_file(const std::string& path) = 0;

  /// Succeeds if the kernel will take the file for one with fs-verity whose content has the
  /// metadata `expected`. Errors: kNoVerity (no flag), kCorrupt (other metadata, or none).
  [[nodiscard]] virtual Result<> check_verity(const std::string& path,
                                              const verity::Metadata& expected) = 0;
};

/// A sysroot in a directory of this machine, which may lack fs-verity: there check_verity()
/// succeeds always.
class DirectoryFiles : public DeviceFiles {
 public:
  explicit DirectoryFiles(Directory cfs) : cfs_(std::move(cfs)) {}
  [[nodiscard]] Result<std::string> read_link(const std::string& path) override;
  [[nodiscard]] Result<std::string> read_file(const std::string& path) override;
  [[nodiscard]] Result<> check_verity(const std::string& path,
                                      const verity::Metadata& expected) override;

 private:
  Directory cfs_;
};

/// A sysroot on an ext4 file system that lies in a file, and whose journal is empty.
class Ext4Files : public DeviceFiles {
 public:
  [[nodiscard]] static Result<Ext4Files> open(const std::string& image);
  Ext4Files(Ext4Files&&) noexcept;
  Ext4Files& operator=(Ext4Files&&) = delete;
  Ext4Files(const Ext4Files&) = delete;
  Ext4Files& operator=(const Ext4Files&) = delete;
  ~Ext4Files() override;

  [[nodiscard]] Result<std::string> read_link(const std::string& path) override;
  [[nodiscard]] Result<std::string> read_file(const std::string& path) override;
  [[nodiscard]] Result<> check_verity(const std::string& path,
                                      const verity::Metadata& expected) override;

 private:
  struct State;
  explicit Ext4Files(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cfs::power

// SPDX-License-Identifier: Apache-2.0
// The check of the device's file system after errors. The program that does it is e2fsck of the
// verified root: docs/decisions/025-the-image-checks-its-disk.md says why.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/base/result.h"

namespace cfs::initramfs {

/// Checks and repairs the file system on `device` if its superblock asks for that, with the e2fsck
/// of the verified root mounted at `root` (`root_fd`). The file system is mounted at `target`,
/// read-only. Returns true if e2fsck ran: whatever it said, what the kernel remembers of the file
/// system is then out of date. Failures are warnings in the kernel's log. When nothing is to be
/// done this costs one read of the superblock.
[[nodiscard]] bool check_disk(const std::string& device, const std::string& target,
                              const std::string& root, int root_fd);

/// The path of e2fsck in the root `root_fd`. All of it can be read.
/// Errors: kNotFound (the image has none); those of reading it.
[[nodiscard]] Result<std::string> find_checker(int root_fd);

/// Runs a checker with an option before the device: "-p" (repair what is safe), "-y" (all).
/// Returns its exit status.
using RunChecker = std::function<Result<int>(const std::string& option)>;

/// Repairs what is safe, and if that does not suffice everything, since nobody is there to be
/// asked. Errors: kCorrupt (errors are left), kSubprocess (e2fsck failed), those of `run`.
/// Spec: e2fsck(8), "EXIT CODE".
[[nodiscard]] Result<> repair(const RunChecker& run);

/// Runs a program to its end and returns its exit status. Each line that it prints is handed to
/// `say`. `enter` runs in the child before the program. After `limit_seconds` the program is
/// asked to end (SIGTERM), and killed if it does not.
/// Errors: kSubprocess (ended by a signal, or not within its time).
[[nodiscard]] Result<int> run_program(std::vector<std::string> arguments, int limit_seconds,
                                      const std::function<Result<>()>& enter,
                                      const std::function<void(const std::string&)>& say);

}  // namespace cfs::initramfs

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "lib/base/time.h"
#include "lib/net/http_client.h"
#include "lib/store/object_store.h"

namespace cfs::deployer {

/// The world around a command: what tests replace and users cannot.
struct Environment {
  /// Receives results (standard output).
  std::function<void(std::string_view)> print;
  /// Devices require fs-verity. Only tests, and `install`, which adds it later, do with less.
  store::VerityPolicy verity = store::VerityPolicy::kRequired;
  net::ClientOptions network;
  std::function<UnixTime()> now = current_time;
  /// What the running system was booted with.
  std::string kernel_command_line = "/proc/cmdline";
  /// The root of the running system.
  std::string root = "/";
  /// Where the kernel shows its settings, and the id of this boot.
  std::string kernel_settings = "/proc/sys/kernel";
  /// Where the kernel says what happens.
  std::string kernel_log = "/dev/kmsg";
  /// Where the kernel is told to forget the files that it remembers and nobody has open.
  std::string drop_caches = "/proc/sys/vm/drop_caches";
  /// Where the running system keeps what lasts until it ends.
  std::string run = "/run";
  /// Where the boot loader says what it started, and from where.
  std::string efi_variables = "/sys/firmware/efi/efivars";
  /// Where the kernel shows its devices and file systems.
  std::string kernel_objects = "/sys";
  /// Where device files are.
  std::string devices = "/dev";
  /// How long to wait for a device file that udev has not made yet, early in a boot.
  std::chrono::milliseconds device_wait = std::chrono::seconds(10);
  /// What the release brings for cfs-deploy, and what the administrator says over it.
  std::string vendor_directory = "/usr/lib/cfs";
  std::string local_directory = "/etc/cfs";
  /// How to ask systemd and D-Bus: paths, or names of programs.
  std::string systemctl = "systemctl";
  std::string busctl = "busctl";
  /// Checks a FAT file system: a path, or the name of a program.
  std::string fsck_vfat = "fsck.vfat";
  std::string machine_id = "/etc/machine-id";
};

}  // namespace cfs::deployer

// SPDX-License-Identifier: Apache-2.0
// What the kernel says about devices. Spec: Linux lib/kobject_uevent.c.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/unique_fd.h"

namespace cfs::initramfs {

/// The value of `key` in a uevent file, one `KEY=value` a line; "": none.
[[nodiscard]] std::string uevent_value(std::string_view uevent, std::string_view key);

/// Wakes up when the kernel announces a device. Where it cannot be heard, time does.
class DeviceEvents {
 public:
  DeviceEvents();
  /// Returns when something has happened since the last call, or after `timeout_ms`.
  void wait(int timeout_ms);

 private:
  UniqueFd socket_;
};

}  // namespace cfs::initramfs

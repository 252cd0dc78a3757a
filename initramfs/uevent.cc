// SPDX-License-Identifier: Apache-2.0
#include "initramfs/uevent.h"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

namespace cfs::initramfs {

std::string uevent_value(std::string_view uevent, std::string_view key) {
  while (!uevent.empty()) {
    std::string_view line = uevent.substr(0, uevent.find('\n'));
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == '=') {
      return std::string(line.substr(key.size() + 1));
    }
    uevent.remove_prefix(std::min(uevent.size(), line.size() + 1));
  }
  return "";
}

DeviceEvents::DeviceEvents()
    : socket_(
          ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT)) {
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1;  // the kernel's own events
  if (socket_.get() >= 0 &&
      // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bind(2) wants it
      ::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    socket_.reset();
  }
}

void DeviceEvents::wait(int timeout_ms) {
  pollfd entry = {.fd = socket_.get(), .events = POLLIN, .revents = 0};
  (void)::poll(&entry, 1, timeout_ms);
  char message[8192];
  while (socket_.get() >= 0 && ::recv(socket_.get(), message, sizeof(message), 0) > 0) {
  }
}

}  // namespace cfs::initramfs

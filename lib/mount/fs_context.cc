// SPDX-License-Identifier: Apache-2.0
#include "lib/mount/fs_context.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>

namespace cfs::mount {
namespace {

// Each read(2) gives one message, "e overlay: text\n"; the first letter is its class (error,
// warning, information). Spec: fsopen(2) of the man-pages draft; Linux fs/fsopen.c
// fscontext_read().
std::string kernel_messages(int context_fd) {
  std::string messages;
  char buffer[1024];
  for (;;) {
    ssize_t count = ::read(context_fd, buffer, sizeof(buffer));
    if (count <= 0) return messages;
    std::string_view line(buffer, static_cast<size_t>(count));
    while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
    if (line.size() > 2 && line[1] == ' ') line.remove_prefix(2);
    if (!messages.empty()) messages += "; ";
    messages += line;
  }
}

std::string quoted(const std::string& text) { return "'" + text + "'"; }

}  // namespace

Error FsContext::failure(const std::string& what, int error_number) const {
  std::string said = kernel_messages(fd_.get());
  std::string message = type_ + ": " + what;
  if (!said.empty()) message += " (kernel: " + said + ")";
  return errno_error(std::move(message), error_number);
}

Result<FsContext> FsContext::open(const std::string& type) {
  int fd = ::fsopen(type.c_str(), FSOPEN_CLOEXEC);
  if (fd < 0) {
    int failure = errno;
    Error error = errno_error("cannot use file system type " + quoted(type), failure);
    if (failure == ENODEV || failure == ENOSYS) error.code = ErrorCode::kUnsupported;
    return error;
  }
  return FsContext(UniqueFd(fd), type);
}

Result<FsContext> FsContext::pick(const std::string& path) {
  int fd = ::fspick(AT_FDCWD, path.c_str(), FSPICK_CLOEXEC);
  if (fd < 0) return errno_error("cannot configure the file system at " + quoted(path));
  return FsContext(UniqueFd(fd), path);
}

Result<> FsContext::set_string(const std::string& key, const std::string& value) {
  if (::fsconfig(fd_.get(), FSCONFIG_SET_STRING, key.c_str(), value.c_str(), 0) != 0) {
    return failure("cannot set " + key + "=" + value, errno);
  }
  return {};
}

Result<> FsContext::set_flag(const std::string& key) {
  if (::fsconfig(fd_.get(), FSCONFIG_SET_FLAG, key.c_str(), nullptr, 0) != 0) {
    return failure("cannot set " + key, errno);
  }
  return {};
}

Result<> FsContext::create() {
  if (::fsconfig(fd_.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return failure("cannot open the file system", errno);
  }
  return {};
}

Result<> FsContext::reconfigure() {
  if (::fsconfig(fd_.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr, 0) != 0) {
    return failure("cannot change mount options", errno);
  }
  return {};
}

Result<UniqueFd> FsContext::mount(unsigned attributes) {
  int fd = ::fsmount(fd_.get(), FSMOUNT_CLOEXEC, attributes);
  if (fd < 0) return failure("cannot mount", errno);
  return UniqueFd(fd);
}

Result<> attach(int mount_fd, const std::string& target) {
  if (::move_mount(mount_fd, "", AT_FDCWD, target.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return errno_error("cannot mount on " + quoted(target));
  }
  return {};
}

Result<> attach_to(int mount_fd, int directory_fd) {
  if (::move_mount(mount_fd, "", directory_fd, "",
                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    return errno_error("cannot mount on an open directory");
  }
  return {};
}

Result<> move_mount_to(const std::string& from, const std::string& to) {
  if (::move_mount(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0) != 0) {
    return errno_error("cannot move the mount " + quoted(from) + " to " + quoted(to));
  }
  return {};
}

Result<UniqueFd> clone_mount(int directory_fd) {
  int fd = ::open_tree(directory_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  if (fd < 0) return errno_error("cannot clone a mount");
  return UniqueFd(fd);
}

Result<> set_mount_attributes(int mount_fd, uint64_t set, uint64_t clear, int user_namespace_fd) {
  mount_attr attributes = {};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  if (user_namespace_fd >= 0) attributes.userns_fd = static_cast<__u64>(user_namespace_fd);
  if (::mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) != 0) {
    return errno_error("cannot set mount attributes");
  }
  return {};
}

Result<> detach(const std::string& target) {
  if (::umount2(target.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) {
    return errno_error("cannot unmount " + quoted(target));
  }
  return {};
}

}  // namespace cfs::mount

// SPDX-License-Identifier: Apache-2.0
#include "builder/boot/cpio.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <limits>
#include <utility>

#include "lib/base/bytes.h"
#include "lib/base/check.h"

namespace cfs::builder {
namespace {

void append_entry(std::string& archive, std::string_view path, uint32_t inode, uint32_t mode,
                  uint32_t links, std::string_view content) {
  // magic, ino, mode, uid, gid, nlink, mtime, filesize, maj, min, rmaj, rmin, namesize, chksum
  archive += fmt::format(
      "070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}", inode,
      mode, 0, 0, links, 0, content.size(), 0, 0, 0, 0, path.size() + 1, 0);
  archive += path;
  archive += '\0';
  archive.resize(align_up(archive.size(), 4));
  archive += content;
  archive.resize(align_up(archive.size(), 4));
}

}  // namespace

void CpioWriter::add(std::string_view path, uint32_t mode, std::string_view content) {
  CFS_CHECK(content.size() < std::numeric_limits<uint32_t>::max());
  append_entry(archive_, path, next_inode_++, mode, S_ISDIR(mode) ? 2 : 1, content);
}

std::string CpioWriter::finish() {
  append_entry(archive_, "TRAILER!!!", 0, 0, 1, "");
  next_inode_ = 1;
  return std::exchange(archive_, std::string());
}

}  // namespace cfs::builder

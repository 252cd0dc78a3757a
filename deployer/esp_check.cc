// SPDX-License-Identifier: Apache-2.0
#include "deployer/esp_check.h"

#include <algorithm>
#include <array>

#include "lib/base/io.h"
#include "lib/base/little_endian.h"
#include "lib/base/subprocess.h"
#include "lib/base/utf8.h"

namespace cfs::deployer {
namespace {

// The boot sector. A FAT32 has 0 for the sectors of a FAT in the place where FAT12 and FAT16 have
// their number. Spec: Microsoft FAT specification, section 3.
constexpr size_t kSectorBytes = 512;
constexpr size_t kFatSectorsOffset = 0x16;
constexpr size_t kSignatureOffset = 0x1fe;
constexpr uint16_t kSignature = 0xaa55;
constexpr size_t kFat16StateOffset = 0x25;
constexpr size_t kFat32StateOffset = 0x41;
constexpr uint8_t kDirty = 1;

constexpr std::chrono::minutes kLimit{15};
constexpr size_t kMaxOutputBytes = 4096;
constexpr int kRepaired = 1;

}  // namespace

bool is_unclean_fat(const std::string& device) {
  Result<UniqueFd> fd = open_at(AT_FDCWD, device, O_RDONLY);
  if (!fd) return false;
  std::array<std::byte, kSectorBytes> sector{};
  Result<size_t> count = pread_full(fd->get(), sector, 0);
  if (!count || *count != sector.size() ||
      load_little_endian<uint16_t>(sector, kSignatureOffset) != kSignature) {
    return false;
  }
  const bool is_fat32 = load_little_endian<uint16_t>(sector, kFatSectorsOffset) == 0;
  const std::byte state = sector[is_fat32 ? kFat32StateOffset : kFat16StateOffset];
  return (static_cast<uint8_t>(state) & kDirty) != 0;
}

Result<bool> check_esp(const Environment& environment, const std::string& device) {
  if (!is_unclean_fat(device)) return false;
  // Fails while the block device is mounted, in whatever namespace; until it is closed nobody can
  // mount it. Without O_CREAT it says nothing about a regular file.
  Result<UniqueFd> alone = open_at(AT_FDCWD, device, O_RDONLY | O_EXCL);
  if (!alone && alone.error().sys_errno == EBUSY) return false;
  if (!alone) return Error(std::move(alone).error());
  Subprocess child = CFS_TRY(Subprocess::start({.arguments = {environment.fsck_vfat, "-a", device},
                                                .environment = {},
                                                .working_directory = {},
                                                .standard_error = StandardError::kWithOutput}));
  TimedRun run = CFS_TRY(child.wait_at_most(kLimit, kMaxOutputBytes));
  if (run.end == TimedRun::End::kExited && (run.number == 0 || run.number == kRepaired)) {
    return true;
  }
  return make_error(ErrorCode::kSubprocess,
                    "fsck.vfat cannot repair '" + device + "': " + printable_text(run.output));
}

Result<> remove_saved_clusters(int root_fd) {
  for (const std::string& name : CFS_TRY(list_directory(root_fd, "."))) {
    const bool is_saved =
        name.size() == 12 && name.starts_with("FSCK") && name.ends_with(".REC") &&
        std::all_of(name.begin() + 4, name.end() - 4, [](char c) { return c >= '0' && c <= '9'; });
    if (is_saved) CFS_TRY(remove_file(root_fd, name));
  }
  return {};
}

}  // namespace cfs::deployer

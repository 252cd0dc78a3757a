// SPDX-License-Identifier: Apache-2.0
// Records of the kernel's log: what is found in one is found again in what it says.
#include <cstdint>

#include "deployer/upkeep/kernel_complaints.h"
#include "lib/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cfs::deployer;  // NOLINT(google-build-using-namespace)
  std::optional<Complaint> complaint = parse_complaint({reinterpret_cast<const char*>(data), size});
  if (!complaint) return 0;
  std::string again = "3,1,1,-;";
  if (const auto* inode = std::get_if<DamagedInode>(&*complaint)) {
    again += "fs-verity (" + inode->device + ", inode " + std::to_string(inode->inode) +
             "): FILE CORRUPTED!";
  } else if (const auto* file = std::get_if<DamagedFile>(&*complaint)) {
    again += "overlayfs: lower file '" + file->name + "' has no fs-verity digest";
  } else {
    again += "overlayfs: lazy lowerdata lookup failed (" +
             std::get<MissingContent>(*complaint).path_end + ", err=-2)";
  }
  CFS_CHECK(parse_complaint(again) == complaint);
  return 0;
}

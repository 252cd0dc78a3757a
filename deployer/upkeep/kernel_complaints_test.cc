// SPDX-License-Identifier: Apache-2.0
#include "deployer/upkeep/kernel_complaints.h"

#include <gtest/gtest.h>

namespace cfs::deployer {
namespace {

TEST(KernelComplaints, FsVerity) {
  const Complaint expected = DamagedInode{.device = "vda2", .inode = 131};
  EXPECT_EQ(parse_complaint("3,512,1234567,-;fs-verity (vda2, inode 131): FILE CORRUPTED! pos=0, "
                            "level=-1, want_hash=sha256:00, real_hash=sha256:01\n"),
            expected);
  EXPECT_EQ(parse_complaint("3,512,1,-;fs-verity (vda2, inode 131): FILE CORRUPTED! index=0\n"
                            " SUBSYSTEM=block\n DEVICE=b254:2\n"),
            expected);
  EXPECT_EQ(parse_complaint("3,512,1,-;fs-verity (vda2, inode 131): FILE CORRUPTED!"), expected);
  EXPECT_EQ(parse_complaint(
                "3,512,1,-;fs-verity (vda2, inode 131): Error -5 reading Merkle tree page 0\n"),
            expected);
}

TEST(KernelComplaints, Overlayfs) {
  const Complaint expected = DamagedFile{.name = "cdef"};
  EXPECT_EQ(
      parse_complaint("4,7,1,-;overlayfs: lower file 'cdef' has the wrong fs-verity digest\n"),
      expected);
  EXPECT_EQ(parse_complaint("4,7,1,c;overlayfs: lower file 'cdef' has no fs-verity digest\n"),
            expected);
}

TEST(KernelComplaints, MissingContent) {
  EXPECT_EQ(parse_complaint("4,7,1,-;overlayfs: lazy lowerdata lookup failed (bin/true, err=-2)\n"),
            Complaint(MissingContent{.path_end = "bin/true"}));
  EXPECT_EQ(parse_complaint("4,7,1,-;overlayfs: lazy lowerdata lookup failed (, err=-2)\n"),
            std::nullopt);
}

TEST(KernelComplaints, NothingElse) {
  for (const char* record : {
           "",
           ";",
           "3",
           "3,",
           "3;fs-verity (vda2, inode 1): FILE CORRUPTED!",
           // a program, not the kernel
           "12,7,1,-;fs-verity (vda2, inode 131): FILE CORRUPTED!\n",
           "3,7,1,-;fs-verity: sha256 using implementation \"sha256-generic\"\n",
           "3,7,1,-;fs-verity (vda2, inode 131)\n",
           "3,7,1,-;fs-verity (vda2, inode 99999999999999999999): FILE CORRUPTED!\n",
           "3,7,1,-;fs-verity (vda2, inode -1): FILE CORRUPTED!\n",
           "3,7,1,-;fs-verity (, inode 1): FILE CORRUPTED!\n",
           "3,7,1,-;x fs-verity (vda2, inode 131): FILE CORRUPTED!\n",
           "3,7,1,-;init: started\n fs-verity (vda2, inode 131): FILE CORRUPTED!\n",
           "4,7,1,-;overlayfs: lower file '' has no fs-verity digest\n",
           "4,7,1,-;overlayfs: lower file 'a' has no friends\n",
       }) {
    EXPECT_FALSE(parse_complaint(record)) << record;
  }
}

}  // namespace
}  // namespace cfs::deployer

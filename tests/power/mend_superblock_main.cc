// SPDX-License-Identifier: Apache-2.0
// mend_superblock IMAGE: what cfs-mount-root does to the file system on its disk before it mounts
// it.
#include <cstdio>

#include "initramfs/torn_superblock.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  cfs::Result<bool> mended = cfs::initramfs::mend_torn_superblock(argv[1]);
  if (mended) return 0;
  (void)std::fprintf(stderr, "%s\n", mended.error().describe().c_str());
  return 1;
}

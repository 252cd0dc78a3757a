// SPDX-License-Identifier: Apache-2.0
#include "tools/mount_composefs.h"

int main(int argc, char** argv) {
  return cfs::tools::run_mount_composefs(std::vector<std::string>(argv + 1, argv + argc));
}

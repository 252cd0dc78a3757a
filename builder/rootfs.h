// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "builder/contents.h"
#include "lib/tree/tree.h"

namespace cfs::builder {

/// A root file system while it is made: what every source, pass and report works on.
struct Rootfs {
  tree::Tree tree;
  Contents contents;
};

}  // namespace cfs::builder

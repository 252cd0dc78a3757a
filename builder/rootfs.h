// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "builder/contents.h"
#include "lib/tree/tree.h"

namespace cfs::builder {

/// A root file system while it is made: what every source, pass and report works on.
struct Rootfs {
  tree::Tree tree;
  Contents contents;
};

/// Returns true if sources keep the extended attribute `key`. SELinux labels are those of the
/// policy of whichever host wrote them, and mean nothing in the image.
[[nodiscard]] constexpr bool is_kept_xattr(std::string_view key) {
  return key != "security.selinux";
}

}  // namespace cfs::builder

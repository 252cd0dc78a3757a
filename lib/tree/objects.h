// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/result.h"
#include "lib/tree/tree.h"
#include "lib/verity/digest.h"

namespace cfs::tree {

/// An object that a tree refers to.
struct ObjectReference {
  verity::Digest digest;
  uint64_t size_bytes = 0;
  bool operator==(const ObjectReference&) const = default;
};

/// Every object that the tree refers to, once each, sorted by digest: what a device needs besides
/// the image. Errors, with the path of the file: kInvalidInput (a content that is not bound to an
/// object by a digest; two files with one digest and two sizes).
[[nodiscard]] Result<std::vector<ObjectReference>> objects_of(const Tree& tree);

}  // namespace cfs::tree

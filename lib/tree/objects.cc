// SPDX-License-Identifier: Apache-2.0
#include "lib/tree/objects.h"

#include <map>

namespace cfs::tree {

Result<std::vector<ObjectReference>> objects_of(const Tree& tree) {
  std::map<verity::Digest, uint64_t> sizes;
  CFS_TRY(tree.for_each([&](const Node& node) -> Result<> {
    if (node.is_link() || !node.is_external()) return {};
    if (node.digest() == nullptr || !node.payload_is_digest()) {
      return make_error(ErrorCode::kInvalidInput,
                        "'" + node.path() + "' is not bound to an object by a digest")
          .with_hint("such an image cannot be verified: build it with fs-verity digests");
    }
    auto [known, is_new] = sizes.emplace(*node.digest(), node.size_bytes);
    if (is_new || known->second == node.size_bytes) return {};
    return make_error(ErrorCode::kInvalidInput, "'" + node.path() + "' has " +
                                                    std::to_string(node.size_bytes) +
                                                    " bytes, another file with its digest has " +
                                                    std::to_string(known->second));
  }));
  std::vector<ObjectReference> objects;
  objects.reserve(sizes.size());
  for (const auto& [digest, size_bytes] : sizes) objects.push_back({digest, size_bytes});
  return objects;
}

}  // namespace cfs::tree

// SPDX-License-Identifier: Apache-2.0
// Which objects the installed releases need, whether they are right, and as what they are used.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "deployer/sysroot/references.h"
#include "lib/tree/objects.h"

namespace cfs::deployer {

/// What of an object is looked at.
enum class Depth {
  kMeasured,  ///< the digest that the kernel enforces; constant time
  kRead,      ///< every byte too: only then a block shows that the disk has damaged since
};

/// The permissions: "0644".
[[nodiscard]] std::string octal(mode_t mode);

/// What is wrong with an object's content, in words; nothing when it is right. Thread-safe.
/// Errors: those that are not about the object; kInterrupted.
[[nodiscard]] Result<std::optional<std::string>> damage_of(const store::ObjectStore& store,
                                                           const verity::Digest& object,
                                                           Depth depth);
/// As damage_of(), and what is wrong with its mode, which keeps nobody from using it.
[[nodiscard]] Result<std::optional<std::string>> what_is_wrong(const store::ObjectStore& store,
                                                               const verity::Digest& object,
                                                               Depth depth);

/// An image that a deployment needs.
struct NeededImage {
  verity::Digest digest;
  std::string release;  ///< "debian-minimal 3 (epoch 3)"
  bool operator==(const NeededImage&) const = default;
};

/// The images of all deployments of which more is left than the record, each once.
[[nodiscard]] std::vector<NeededImage> needed_images(const Inventory& inventory);

/// The objects that an image refers to, and as which paths. The image is read whole before, so that
/// a damaged block of it is an error here. Errors: kCorrupt, kNotFound, kDigestMismatch, kNoVerity.
[[nodiscard]] Result<tree::Tree> read_tree(const store::ObjectStore& store,
                                           const verity::Digest& image);

/// Every object that an image refers to, as tree::objects_of(). Errors: as read_tree().
[[nodiscard]] Result<std::vector<tree::ObjectReference>> objects_of_image(
    const store::ObjectStore& store, const verity::Digest& image);

/// As what an object is used.
struct ObjectUse {
  static constexpr size_t kMaxPaths = 10;

  std::optional<uint64_t> size_bytes;
  std::vector<std::string> paths;  ///< "/usr/bin/x in debian-minimal 3 (epoch 3)"; the first ones
  uint64_t count = 0;
};

struct Uses {
  std::map<verity::Digest, ObjectUse> of;  ///< those of the objects that are used
  bool is_complete = true;                 ///< false: an image could not be read
};

/// What the images use the objects as.
[[nodiscard]] Result<Uses> find_uses(const Sysroot& sysroot, const std::vector<NeededImage>& images,
                                     const std::set<verity::Digest>& objects);

}  // namespace cfs::deployer

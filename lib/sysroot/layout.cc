// SPDX-License-Identifier: Apache-2.0
#include "lib/sysroot/layout.h"

namespace cfs::sysroot {

std::string object_path(const verity::Digest& object) {
  return std::string(kObjects) + "/" + object.object_path();
}

std::optional<verity::Digest> object_of_path(std::string_view path) {
  const std::string folder = std::string(kObjects) + "/";
  if (!path.starts_with(folder)) return std::nullopt;
  return verity::Digest::from_object_path(path.substr(folder.size()));
}

std::string image_path(const verity::Digest& image) {
  return std::string(kImages) + "/" + image.hex();
}

std::string image_target(const verity::Digest& image) { return "../" + object_path(image); }

std::string release_directory(const verity::Digest& image) {
  return std::string(kReleases) + "/" + image.hex();
}

std::string description_path(const verity::Digest& image) {
  return release_directory(image) + "/release.json";
}

std::string uki_path(const verity::Digest& image, const verity::Sha256Digest& uki) {
  return release_directory(image) + "/" + uki.hex() + ".efi";
}

std::string copy_path(std::string_view path) {
  return std::string(kCopies) + "/" + std::string(path.substr(path.rfind('/') + 1));
}

std::string deployment_directory(std::string_view id) {
  return std::string(kDeployments) + "/" + std::string(id);
}

std::string record_path(std::string_view id) {
  return deployment_directory(id) + "/deployment.json";
}

std::string reference_path(std::string_view name) {
  return std::string(kReferences) + "/" + std::string(name);
}

std::string reference_target(std::string_view id) { return "../" + deployment_directory(id); }

std::string pinned_path(std::string_view id) {
  return std::string(kPinned) + "/" + std::string(id);
}

std::string pinned_target(std::string_view id) { return "../../" + deployment_directory(id); }

std::span<const char* const> directories() {
  static constexpr const char* kAll[] = {kTrust,      kObjects, kImages, kReleases,  kDeployments,
                                         kReferences, kPinned,  kState,  kBootState, kTemporary};
  return kAll;
}

mode_t mode_of(std::string_view path, bool is_directory) {
  if (path.empty()) return 0700;
  if (is_directory) return 0755;
  // A password may stand in the origin's address; who can open the lock can hold it.
  if (path == kOrigin || path == copy_path(kOrigin) || path == kLock) return 0600;
  if (path.starts_with(std::string(kObjects) + "/")) return 0444;
  return 0644;
}

}  // namespace cfs::sysroot

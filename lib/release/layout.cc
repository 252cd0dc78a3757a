// SPDX-License-Identifier: Apache-2.0
#include "lib/release/layout.h"

#include <fmt/format.h>

namespace cfs::release {

std::string metadata_path(std::string_view role, uint64_t version) {
  return fmt::format("{}/{}.{}.json", kMetadataDirectory, version, role);
}

std::string target_path(std::string_view hash, std::string_view name) {
  const size_t file = name.rfind('/') + 1;  // 0 when there is no '/'
  return fmt::format("targets/{}{}.{}", name.substr(0, file), hash, name.substr(file));
}

std::string transport_path(const verity::Digest& image) {
  return fmt::format("rel/{}/manifest", image.hex());
}

std::string encoded_object_path(const verity::Digest& object) {
  return fmt::format("obj/{}.zst", object.object_path());
}

std::string release_target_name(std::string_view name, std::string_view version) {
  return fmt::format("{}_{}.release.json", name, version);
}

}  // namespace cfs::release

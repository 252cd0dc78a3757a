// SPDX-License-Identifier: Apache-2.0
#include "lib/disk/derived_id.h"

#include <fmt/format.h>

#include <cstring>

#include "lib/base/little_endian.h"
#include "lib/verity/merkle.h"

namespace cfs::disk {
namespace {

verity::Sha256Digest derive(std::string_view seed, std::string_view purpose) {
  return verity::sha256(as_bytes(fmt::format("cfs disk {}\n{}", purpose, seed)));
}

}  // namespace

std::string derived_uuid(std::string_view seed, std::string_view purpose) {
  verity::Sha256Digest digest = derive(seed, purpose);
  std::span<std::byte, 32> bytes = digest.mutable_bytes();
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x80};
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string hex = digest.hex();
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                     hex.substr(16, 4), hex.substr(20, 12));
}

uint32_t derived_number(std::string_view seed, std::string_view purpose) {
  verity::Sha256Digest digest = derive(seed, purpose);
  le32 number;
  std::memcpy(&number, digest.bytes().data(), sizeof(number));
  return number;
}

}  // namespace cfs::disk

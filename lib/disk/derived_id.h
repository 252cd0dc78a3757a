// SPDX-License-Identifier: Apache-2.0
// Identifiers of a disk image, which depend on its seed alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cfs::disk {

/// A UUID of version 8, which is for such private schemes. Spec: RFC 9562 §5.8.
[[nodiscard]] std::string derived_uuid(std::string_view seed, std::string_view purpose);

/// A number of 32 bits, the same on every machine.
[[nodiscard]] uint32_t derived_number(std::string_view seed, std::string_view purpose);

}  // namespace cfs::disk

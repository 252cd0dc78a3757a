// SPDX-License-Identifier: Apache-2.0
// The boot counter in a file name: "name+3.efi", "name+2-1.efi".
// Spec: systemd, "Automatic Boot Assessment".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/boot/boot_loader.h"

namespace cfs::boot {

/// A file name without its suffix, taken apart.
struct CountedName {
  std::string_view id;
  std::optional<Tries> tries;
};

/// `stem` ends in a counter "+LEFT" or "+LEFT-DONE", decimal numbers that fit into an int; anything
/// else is all id.
[[nodiscard]] CountedName split_counter(std::string_view stem);

/// The other way round: "name+2-1"; "+3" when none is done yet.
[[nodiscard]] std::string with_counter(std::string_view id, const std::optional<Tries>& tries);

}  // namespace cfs::boot

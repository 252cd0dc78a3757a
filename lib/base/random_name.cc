// SPDX-License-Identifier: Apache-2.0
#include "lib/base/random_name.h"

#include <sys/random.h>

#include <algorithm>
#include <array>

#include "lib/base/check.h"
#include "lib/base/hex.h"

namespace cfs {

std::string random_name() {
  std::array<std::byte, kRandomNameDigits / 2> bytes;
  CFS_CHECK(::getentropy(bytes.data(), bytes.size()) == 0);
  return to_hex(bytes);
}

bool is_random_name(std::string_view text) {
  return text.size() == kRandomNameDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace cfs

// SPDX-License-Identifier: Apache-2.0
#include "lib/boot/boot_counter.h"

#include <charconv>
#include <limits>

namespace cfs::boot {
namespace {

std::optional<unsigned> parse_count(std::string_view text) {
  unsigned value = 0;
  auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() ||
      value > unsigned{std::numeric_limits<int>::max()}) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

CountedName split_counter(std::string_view stem) {
  const CountedName whole{.id = stem, .tries = {}};
  size_t plus = stem.rfind('+');
  if (plus == std::string_view::npos) return whole;
  std::string_view counter = stem.substr(plus + 1);
  size_t dash = counter.find('-');
  std::optional<unsigned> left = parse_count(counter.substr(0, dash));
  std::optional<unsigned> done =
      dash == std::string_view::npos ? 0 : parse_count(counter.substr(dash + 1));
  if (!left || !done) return whole;
  return {.id = stem.substr(0, plus), .tries = Tries{.left = *left, .done = *done}};
}

std::string with_counter(std::string_view id, const std::optional<Tries>& tries) {
  std::string name(id);
  if (!tries) return name;
  name += "+" + std::to_string(tries->left);
  if (tries->done > 0) name += "-" + std::to_string(tries->done);
  return name;
}

}  // namespace cfs::boot

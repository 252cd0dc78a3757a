// SPDX-License-Identifier: Apache-2.0
#include "lib/base/nearest_word.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace cfs {
namespace {

/// Letters to insert, remove or replace (Levenshtein), one row of the table at a time.
size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= from.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= to.size(); ++j) {
      size_t replaced = diagonal + (from[i - 1] == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest_word(std::string_view typed, std::span<const std::string_view> words) {
  std::string_view best;
  size_t best_distance = typed.size();
  for (std::string_view word : words) {
    size_t limit = std::max(typed.size(), word.size()) / 2;
    size_t least = std::max(typed.size(), word.size()) - std::min(typed.size(), word.size());
    if (least > limit || least >= best_distance) continue;
    size_t distance = edit_distance(typed, word);
    if (distance > limit || distance >= best_distance) continue;
    best_distance = distance;
    best = word;
  }
  return std::string(best);
}

std::string did_you_mean(std::string_view typed, std::span<const std::string_view> words) {
  std::string word = nearest_word(typed, words);
  return word.empty() ? word : "did you mean '" + word + "'?";
}

}  // namespace cfs

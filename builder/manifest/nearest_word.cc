// SPDX-License-Identifier: Apache-2.0
#include "builder/manifest/nearest_word.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace cfs::builder {

std::string nearest_word(std::string_view typed, std::span<const std::string_view> words) {
  std::string best;
  size_t best_distance = 2 + typed.size() / 4;  // more edits than this is another word
  for (std::string_view word : words) {
    // Levenshtein distance, one row at a time.
    std::vector<size_t> row(word.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= typed.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= word.size(); ++j) {
        size_t substituted = diagonal + (typed[i - 1] == word[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = word;
    }
  }
  return best;
}

}  // namespace cfs::builder

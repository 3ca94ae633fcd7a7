#include "cli/did_you_mean.h"

#include <algorithm>
#include <vector>

namespace boxlite::cli {
namespace {

constexpr std::size_t kMaxWord = 32;

/// Optimal string alignment distance.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

/// Of a word of two letters an edit makes another word (rm, rmi) rather than a slip of the fingers.
std::size_t edits_allowed(std::string_view a, std::string_view b) {
  if (std::min(a.size(), b.size()) < 3) return 0;
  return std::max(a.size(), b.size()) < 6 ? 1 : 2;
}

}  // namespace

std::string_view did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.size() > kMaxWord) return {};
  std::string_view best;
  std::size_t best_distance = kMaxWord;
  for (const std::string_view candidate : candidates) {
    const std::size_t found = distance(word, candidate);
    if (found < best_distance && found <= edits_allowed(word, candidate)) {
      best = candidate;
      best_distance = found;
    }
  }
  return best;
}

}  // namespace boxlite::cli

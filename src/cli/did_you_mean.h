// A suggestion for a mistyped word.
#pragma once

#include <span>
#include <string_view>

namespace boxlite::cli {

/// The nearest candidate that the word may be a slip of: one edit (insert, drop, replace, swap neighbours), two in a long word,
/// none in one of two letters. "" if there is none.
std::string_view did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace boxlite::cli

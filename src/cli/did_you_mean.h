// A suggestion for a mistyped word.
#pragma once

#include <span>
#include <string_view>

namespace boxlite::cli {

/// The nearest candidate within two edits (insert, drop, replace, swap neighbours) and half of the word; "" if there is none.
std::string_view did_you_mean(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace boxlite::cli

// Text that a guest wrote, made fit for a message: nothing in it steers a terminal, and it is bounded.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace boxlite {

/// The first `limit` bytes with C0 and C1 controls and DEL replaced by "?", and bytes that are not UTF-8 by U+FFFD.
std::string printable(std::string_view bytes, std::size_t limit);

}  // namespace boxlite

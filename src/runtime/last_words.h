// The end of a log for one line of a message. What wrote the log may be hostile: nothing but printable text comes out.
#pragma once

#include <cstddef>
#include <string>

namespace boxlite {

/// The last `lines` lines that are not blank, joined by " | ", everything but printable ASCII replaced, each cut at 200 bytes.
/// "" when there is no such file or nothing in it.
std::string last_words(const std::string& path, std::size_t lines);

}  // namespace boxlite

// Byte strings in JSON. Arguments, environment and paths are bytes, and JSON text cannot hold bytes that are not UTF-8: each byte
// is written as the code point of the same number (U+0000–U+00FF), so what is read is what was written; ASCII reads as itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace boxlite {

std::string bytes_to_text(std::string_view bytes);
/// kCorrupt naming `what` when a character is beyond U+00FF.
Result<std::string> text_to_bytes(std::string_view text, std::string_view what);

Json byte_list_to_json(const std::vector<std::string>& list);
Result<std::vector<std::string>> byte_list_from_json(const Json& object, std::string_view key, std::string_view what);

}  // namespace boxlite

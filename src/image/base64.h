// Base64 (RFC 4648, section 4, with padding), over OpenSSL.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace boxlite::image {

std::string base64_encode(std::string_view bytes);

/// nullopt when it is not base64.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace boxlite::image

#include "image/digest.h"

#include <algorithm>

namespace boxlite::image {

Result<Digest> Digest::parse(std::string_view text, std::string_view what) {
  constexpr std::string_view kPrefix = "sha256:";
  const std::string_view hex = text.starts_with(kPrefix) ? text.substr(kPrefix.size()) : std::string_view();
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (hex.size() != 64 || !std::ranges::all_of(hex, is_hex)) {
    return fail(ErrorCode::kInvalidArgument, "{}: \"{}\" is not a digest (sha256: and 64 hex digits)", what, text.substr(0, 100));
  }
  return Digest(std::string(hex));
}

}  // namespace boxlite::image

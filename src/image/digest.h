// Content digests (OCI image-spec v1.1, descriptor.md, "Digests"). Only sha256 is accepted: a second algorithm would be a second
// way to name the same bytes.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/result.h"

namespace boxlite::image {

class Digest {
 public:
  /// "sha256:" and 64 lower-case hex digits; `what` names the place in the error.
  static Result<Digest> parse(std::string_view text, std::string_view what);

  /// From the 64 digits alone, which the caller made itself.
  static Digest from_hex(std::string hex) { return Digest(std::move(hex)); }

  const std::string& hex() const { return hex_; }
  std::string text() const { return "sha256:" + hex_; }
  auto operator<=>(const Digest&) const = default;

 private:
  explicit Digest(std::string hex) : hex_(std::move(hex)) {}
  std::string hex_;
};

}  // namespace boxlite::image

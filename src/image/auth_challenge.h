// The WWW-Authenticate header of a registry (RFC 9110, section 11.6.1; distribution spec, token authentication).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace boxlite::image {

struct AuthChallenge {
  std::string scheme;                             // lower case: "bearer", "basic"
  std::map<std::string, std::string> parameters;  // names in lower case
};

/// One header's first challenge; nullopt when it is malformed.
std::optional<AuthChallenge> parse_challenge(std::string_view header);

}  // namespace boxlite::image

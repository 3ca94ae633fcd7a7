// http and https URLs, as far as the trust decisions of the registry client need them (parsed by libcurl, so that what is judged
// is what is fetched).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace boxlite::image {

struct Url {
  std::string text;
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case, IPv6 in brackets
  std::string port;    // never empty

  std::string origin() const { return scheme + "://" + host + ":" + port; }
  /// HOST, or HOST:PORT when the port is not the scheme's own.
  std::string authority() const;
  bool is_loopback() const;
};

/// kInvalidArgument unless it is http or https, with a host and without a user or password.
Result<Url> parse_url(const std::string& text);

/// A Location header, which may be relative, seen from `base`.
Result<Url> resolve_url(const Url& base, const std::string& location);

/// localhost, 127.0.0.0/8, [::1].
bool is_loopback_host(std::string_view host);

}  // namespace boxlite::image

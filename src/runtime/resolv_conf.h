// The host's resolv.conf(5), as far as boxes have a use for it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace boxlite {

struct HostResolver {
  std::vector<std::string> servers;  // addresses, at most three; never empty: without a word of the file it is 127.0.0.1
  std::vector<std::string> domains;  // where short names are looked for
};

/// What of it is no address or no domain is left out.
HostResolver parse_resolv_conf(std::string_view text);

/// /etc/resolv.conf as it is now.
Result<HostResolver> read_host_resolver();
/// The same; of a file that cannot be read, what the C library takes then.
HostResolver host_resolver();

}  // namespace boxlite

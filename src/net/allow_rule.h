// One text of --allow-net: a destination that a box may reach. "10.0.0.0/8", "192.0.2.1", "192.0.2.1:443", "10.0.0.0/8:53",
// "2001:db8::/32", "[2001:db8::1]:443", "[2001:db8::/32]:53".
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "net/ip_address.h"

namespace boxlite::net {

struct AllowRule {
  IpAddress network;
  unsigned prefix = 0;
  std::optional<std::uint16_t> port = std::nullopt;  // absent: any port, and ICMP

  /// `port_asked` is absent for protocols without ports: only a rule without a port matches then.
  bool matches(const IpAddress& destination, std::optional<std::uint16_t> port_asked) const;
};

/// kInvalidArgument, one line naming the text, when it is not such a rule or allows only what no box ever reaches.
Result<AllowRule> parse_allow_rule(std::string_view text);

}  // namespace boxlite::net

// Which addresses no box ever reaches, whatever it is allowed: the host itself by any of its names, link-local addresses with the
// metadata service among them, multicast, and every form of IPv6 in which such an IPv4 address may hide.
#pragma once

#include "net/ip_address.h"

namespace boxlite::net {

/// True for an address that is refused as a destination. The box's own network is judged by the policy, not here.
bool never_reachable(const IpAddress& destination);

/// True when that holds for every address of the network.
bool never_reachable(const IpAddress& network, unsigned prefix);

bool is_multicast_or_broadcast(const IpAddress& destination);

}  // namespace boxlite::net

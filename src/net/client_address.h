// The host's clients of published ports, as socket addresses and as the box sees them.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>

#include "net/addresses.h"

namespace boxlite::net {

struct SocketName {
  IpAddress address;  // an IPv4-mapped one is IPv4
  std::uint16_t port = 0;
};
SocketName socket_name(const sockaddr_storage& address);

/// The IPv4 address by which the box can answer this client; absent when it must be the host alias: loopback, IPv6, the box's own
/// network.
std::optional<IpAddress> visible_client(const IpAddress& client);

}  // namespace boxlite::net

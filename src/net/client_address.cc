#include "net/client_address.h"

#include <arpa/inet.h>

#include <cstring>

#include "net/reachability.h"

namespace boxlite::net {

SocketName socket_name(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    sockaddr_in in = {};
    std::memcpy(&in, &address, sizeof in);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&in.sin_addr);
    return {IpAddress::from_bytes({bytes, 4}), ntohs(in.sin_port)};
  }
  sockaddr_in6 in6 = {};
  std::memcpy(&in6, &address, sizeof in6);
  const std::span<const std::uint8_t> bytes(in6.sin6_addr.s6_addr, 16);
  const bool mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
  return {IpAddress::from_bytes(mapped ? bytes.subspan(12) : bytes), ntohs(in6.sin6_port)};
}

std::optional<IpAddress> visible_client(const IpAddress& client) {
  if (client.is_v6() || never_reachable(client) || client.in(kNetwork4, kPrefix4)) return std::nullopt;
  return client;
}

}  // namespace boxlite::net

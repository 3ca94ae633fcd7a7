// The network of a box: the same addresses in every box, since each has a link of its own.
//
//   192.168.127.1    gateway and name server (ICMP echo and DNS only)      fd62:6f78:6c69::1   gateway
//   192.168.127.2    the box                                               fd62:6f78:6c69::2   the box
//   192.168.127.254  host.boxlite.internal, the host's loopback            fd62:6f78:6c69::fe  the same
//
// The box configures itself: address, prefix, default routes by the gateways, no DHCP, no router advertisements. libslirp answers
// ARP and neighbour solicitations with MAC addresses of its own making (52:55:… and 52:56:…); only the box's is fixed.
#pragma once

#include <array>
#include <cstdint>

#include "net/ip_address.h"

namespace boxlite::net {

using MacAddress = std::array<std::uint8_t, 6>;

inline constexpr MacAddress kGuestMac = {0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee};
inline constexpr MacAddress kGatewayMac = {0x52, 0x55, 192, 168, 127, 1};  // as libslirp makes it

inline constexpr IpAddress kNetwork4 = IpAddress::v4(192, 168, 127, 0);
inline constexpr unsigned kPrefix4 = 24;
inline constexpr IpAddress kGateway4 = IpAddress::v4(192, 168, 127, 1);
inline constexpr IpAddress kGuest4 = IpAddress::v4(192, 168, 127, 2);
inline constexpr IpAddress kHostAlias4 = IpAddress::v4(192, 168, 127, 254);

inline constexpr IpAddress kNetwork6 = IpAddress::v6({0xfd, 0x62, 0x6f, 0x78, 0x6c, 0x69});
inline constexpr unsigned kPrefix6 = 64;
inline constexpr IpAddress kGateway6 = kNetwork6.with_last_byte(0x01);
inline constexpr IpAddress kGuest6 = kNetwork6.with_last_byte(0x02);
inline constexpr IpAddress kHostAlias6 = kNetwork6.with_last_byte(0xfe);

inline constexpr const char* kHostName = "host.boxlite.internal";
inline constexpr std::uint16_t kDnsPort = 53;

/// What libslirp takes at most. An Ethernet frame has 14 bytes more.
inline constexpr std::uint32_t kMaxMtu = 65520;
inline constexpr std::uint32_t kMinMtu = 1280;  // IPv6's, RFC 8200 section 5

}  // namespace boxlite::net

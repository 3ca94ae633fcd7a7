// Frames that this process itself makes for the box.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "net/packet.h"

namespace boxlite::net {

using Frame = std::vector<std::uint8_t>;

/// What the box hears of a denied packet at once: a reset for a TCP segment (RFC 9293 section 3.10.7.1), else "administratively
/// prohibited" (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1) from the gateway.
Frame denial_of(const Packet& packet);

/// An IPv4 UDP datagram for the box, in fragments where it is longer than the MTU. `data` is at most 65507 bytes.
struct UdpDatagram {
  IpAddress source;
  std::uint16_t source_port;
  std::uint16_t destination_port;
  std::span<const std::uint8_t> data;
};
void make_udp_frames(const UdpDatagram& datagram, std::uint32_t mtu,
                     const std::function<void(std::span<const std::uint8_t>)>& emit);

/// Gives an IPv4 TCP or UDP packet, or a fragment of one, another source address; checksums follow (RFC 1624).
void set_source(const Packet& packet, const IpAddress& address);

}  // namespace boxlite::net

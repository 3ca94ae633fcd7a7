// A frame of the box, looked at: all that the policy asks for, with every length checked against what is there.
//
// IPv4 options are refused as malformed: nobody needs them, and they are the material of attacks. IPv6 extension headers are a
// protocol of their own here, which goes nowhere.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "net/ip_address.h"

namespace boxlite::net {

inline constexpr std::size_t kEthernetHeader = 14;
inline constexpr std::size_t kIp4Header = 20;
inline constexpr std::size_t kIp6Header = 40;
inline constexpr std::size_t kTcpHeader = 20;
inline constexpr std::size_t kUdpHeader = 8;
inline constexpr std::size_t kIcmpHeader = 8;

inline constexpr std::uint16_t kTypeIp4 = 0x0800;
inline constexpr std::uint16_t kTypeArp = 0x0806;
inline constexpr std::uint16_t kTypeIp6 = 0x86dd;

inline constexpr std::uint8_t kIcmp = 1;
inline constexpr std::uint8_t kProtocolTcp = 6;
inline constexpr std::uint8_t kProtocolUdp = 17;
inline constexpr std::uint8_t kIcmp6 = 58;

inline constexpr std::uint8_t kTcpFin = 0x01;
inline constexpr std::uint8_t kTcpSyn = 0x02;
inline constexpr std::uint8_t kTcpRst = 0x04;
inline constexpr std::uint8_t kTcpAck = 0x10;

struct Packet {
  std::span<std::uint8_t> frame;  // from the Ethernet header to the end of the IP packet, no padding
  std::size_t transport_at = 0;   // offset of the transport header in it
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;
  std::uint8_t hop_limit = 0;
  bool fragment = false;               // of IPv4; nothing below is known then
  std::uint16_t source_port = 0;       // TCP, UDP
  std::uint16_t destination_port = 0;  // TCP, UDP
  std::uint8_t tcp_flags = 0;
  std::uint8_t icmp_type = 0;  // ICMP, ICMPv6

  std::span<std::uint8_t> ip() const { return frame.subspan(kEthernetHeader); }
  std::span<std::uint8_t> transport() const { return frame.subspan(transport_at); }
  /// The bytes after the UDP header, by its own length.
  std::span<const std::uint8_t> udp_data() const;
};

/// A TCP segment that opens a connection.
inline bool begins_connection(const Packet& packet) { return (packet.tcp_flags & (kTcpSyn | kTcpAck)) == kTcpSyn; }

/// Nullopt for everything that is not a whole, well-formed IPv4 or IPv6 packet.
std::optional<Packet> parse_packet(std::span<std::uint8_t> frame);

}  // namespace boxlite::net

// Frames for tests, made field by field; and checksums computed in another way than the product's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "net/addresses.h"
#include "net/packet.h"

namespace boxlite::net::test {

using Bytes = std::vector<std::uint8_t>;

inline IpAddress address(std::string_view text) { return IpAddress::parse(text).value(); }

inline void append(Bytes& to, std::span<const std::uint8_t> bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }
inline void append16(Bytes& to, std::size_t value) {
  to.push_back(static_cast<std::uint8_t>(value >> 8));
  to.push_back(static_cast<std::uint8_t>(value));
}
inline void append32(Bytes& to, std::uint32_t value) {
  append16(to, value >> 16);
  append16(to, value & 0xffff);
}

// One's complement sum kept folded at every step, little by little.
inline std::uint16_t slow_checksum(const Bytes& bytes) {
  std::uint16_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::uint16_t word = i % 2 == 0 ? static_cast<std::uint16_t>(bytes[i] << 8) : bytes[i];
    const std::uint32_t wide = static_cast<std::uint32_t>(sum) + word;
    sum = static_cast<std::uint16_t>(wide % 65535);
    if (sum == 0 && wide != 0) sum = 0xffff;
  }
  return static_cast<std::uint16_t>(~sum);
}

inline std::uint16_t slow_transport_checksum(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                                             const Bytes& transport) {
  Bytes all;
  append(all, source.bytes());
  append(all, destination.bytes());
  append32(all, static_cast<std::uint32_t>(transport.size()));
  append32(all, protocol);
  append(all, transport);
  return slow_checksum(all);
}

struct Ip {
  IpAddress from = kGuest4;
  IpAddress to;
  std::uint8_t protocol = kProtocolTcp;
  std::uint8_t hops = 64;
  std::uint16_t fragment = 0;
  std::uint16_t id = 7;
  MacAddress mac = kGuestMac;
};

inline Bytes ip_frame(const Ip& ip, const Bytes& transport) {
  Bytes frame;
  append(frame, kGatewayMac);
  append(frame, ip.mac);
  append16(frame, ip.to.is_v6() ? kTypeIp6 : kTypeIp4);
  if (ip.to.is_v6()) {
    append32(frame, 0x60000000);
    append16(frame, transport.size());
    frame.push_back(ip.protocol);
    frame.push_back(ip.hops);
    append(frame, ip.from.bytes());
    append(frame, ip.to.bytes());
  } else {
    Bytes header;
    append16(header, 0x4500);
    append16(header, transport.size() + 20);
    append16(header, ip.id);
    append16(header, ip.fragment);
    header.push_back(ip.hops);
    header.push_back(ip.protocol);
    append16(header, 0);
    append(header, ip.from.bytes());
    append(header, ip.to.bytes());
    const std::uint16_t sum = slow_checksum(header);
    header[10] = static_cast<std::uint8_t>(sum >> 8);
    header[11] = static_cast<std::uint8_t>(sum);
    append(frame, header);
  }
  append(frame, transport);
  return frame;
}

inline Bytes with_checksum(const Ip& ip, Bytes transport, std::size_t at) {
  const bool icmp4 = ip.protocol == kIcmp;
  const std::uint16_t sum = icmp4 ? slow_checksum(transport) : slow_transport_checksum(ip.from, ip.to, ip.protocol, transport);
  transport[at] = static_cast<std::uint8_t>(sum >> 8);
  transport[at + 1] = static_cast<std::uint8_t>(sum);
  return transport;
}

/// The source is the box's address of the destination's family, unless said.
inline Ip towards(const IpAddress& to, std::uint8_t protocol) {
  return {.from = to.is_v6() ? kGuest6 : kGuest4, .to = to, .protocol = protocol};
}

inline Bytes tcp(std::uint16_t from_port, std::uint16_t to_port, std::uint8_t flags, std::string_view data = "") {
  Bytes bytes;
  append16(bytes, from_port);
  append16(bytes, to_port);
  append32(bytes, 1000);  // sequence number
  append32(bytes, 0);
  append16(bytes, 0x5000 | flags);
  append16(bytes, 65535);
  append32(bytes, 0);
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}
inline Bytes tcp_frame(const IpAddress& to, std::uint16_t port, std::uint8_t flags = kTcpSyn, std::string_view data = "") {
  const Ip ip = towards(to, kProtocolTcp);
  return ip_frame(ip, with_checksum(ip, tcp(40000, port, flags, data), 16));
}

inline Bytes udp(std::uint16_t from_port, std::uint16_t to_port, std::string_view data) {
  Bytes bytes;
  append16(bytes, from_port);
  append16(bytes, to_port);
  append16(bytes, 8 + data.size());
  append16(bytes, 0);
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}
inline Bytes udp_frame(const IpAddress& to, std::uint16_t port, std::string_view data = "data", std::uint16_t from_port = 40000) {
  const Ip ip = towards(to, kProtocolUdp);
  return ip_frame(ip, with_checksum(ip, udp(from_port, port, data), 6));
}

inline Bytes icmp_frame(const IpAddress& to, std::uint8_t type, std::size_t size = 8) {
  Ip ip = towards(to, to.is_v6() ? kIcmp6 : kIcmp);
  if (to.is_v6() && type >= 133 && type <= 137) ip.hops = 255;
  Bytes bytes(size);
  bytes[0] = type;
  return ip_frame(ip, with_checksum(ip, bytes, 2));
}

inline Bytes arp_frame(const IpAddress& sender, const MacAddress& sender_mac, const IpAddress& target,
                       std::uint16_t operation = 1) {
  Bytes frame(6, 0xff);
  append(frame, kGuestMac);
  append16(frame, kTypeArp);
  append32(frame, 0x00010800);
  append16(frame, 0x0604);
  append16(frame, operation);
  append(frame, sender_mac);
  append(frame, sender.bytes());
  append(frame, MacAddress{});
  append(frame, target.bytes());
  return frame;
}

}  // namespace boxlite::net::test

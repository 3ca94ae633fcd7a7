#include "net/packet.h"

#include "net/wire.h"

namespace boxlite::net {
namespace {

bool parse_transport(Packet& packet) {
  const auto bytes = packet.transport();
  switch (packet.protocol) {
    case kProtocolTcp: {
      if (bytes.size() < kTcpHeader) return false;
      const std::size_t header = static_cast<std::size_t>(bytes[12] >> 4) * 4;
      if (header < kTcpHeader || header > bytes.size()) return false;
      packet.tcp_flags = bytes[13];
      break;
    }
    case kProtocolUdp:
      if (bytes.size() < kUdpHeader || get16(bytes, 4) < kUdpHeader || get16(bytes, 4) > bytes.size()) return false;
      break;
    case kIcmp:
    case kIcmp6:
      if (bytes.size() < kIcmpHeader) return false;
      packet.icmp_type = bytes[0];
      return true;
    default:
      return true;
  }
  packet.source_port = get16(bytes, 0);
  packet.destination_port = get16(bytes, 2);
  return true;
}

std::optional<Packet> parse_ip4(std::span<std::uint8_t> frame) {
  const auto ip = frame.subspan(kEthernetHeader);
  if (ip.size() < kIp4Header || ip[0] != 0x45) return std::nullopt;
  const std::size_t length = get16(ip, 2);
  if (length < kIp4Header || length > ip.size() || ip[8] == 0) return std::nullopt;
  if (Checksum().add(ip.first(kIp4Header)).value() != 0) return std::nullopt;
  Packet packet;
  packet.frame = frame.first(kEthernetHeader + length);
  packet.transport_at = kEthernetHeader + kIp4Header;
  packet.source = IpAddress::from_bytes(ip.subspan(12, 4));
  packet.destination = IpAddress::from_bytes(ip.subspan(16, 4));
  packet.protocol = ip[9];
  packet.hop_limit = ip[8];
  packet.fragment = (get16(ip, 6) & 0x3fff) != 0;  // more fragments, or an offset
  if (packet.protocol == kIcmp6) return std::nullopt;
  if (!packet.fragment && !parse_transport(packet)) return std::nullopt;
  return packet;
}

std::optional<Packet> parse_ip6(std::span<std::uint8_t> frame) {
  const auto ip = frame.subspan(kEthernetHeader);
  if (ip.size() < kIp6Header || ip[0] >> 4 != 6) return std::nullopt;
  const std::size_t length = kIp6Header + get16(ip, 4);
  if (length > ip.size() || ip[7] == 0) return std::nullopt;
  Packet packet;
  packet.frame = frame.first(kEthernetHeader + length);
  packet.transport_at = kEthernetHeader + kIp6Header;
  packet.source = IpAddress::from_bytes(ip.subspan(8, 16));
  packet.destination = IpAddress::from_bytes(ip.subspan(24, 16));
  packet.protocol = ip[6];
  packet.hop_limit = ip[7];
  if (packet.protocol == kIcmp) return std::nullopt;
  if (!parse_transport(packet)) return std::nullopt;
  return packet;
}

}  // namespace

std::span<const std::uint8_t> Packet::udp_data() const { return transport().first(get16(transport(), 4)).subspan(kUdpHeader); }

std::optional<Packet> parse_packet(std::span<std::uint8_t> frame) {
  if (frame.size() < kEthernetHeader) return std::nullopt;
  const std::uint16_t type = get16(frame, 12);
  if (type == kTypeIp4) return parse_ip4(frame);
  if (type == kTypeIp6) return parse_ip6(frame);
  return std::nullopt;
}

}  // namespace boxlite::net

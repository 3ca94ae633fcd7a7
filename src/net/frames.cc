#include "net/frames.h"

#include <algorithm>

#include "net/addresses.h"
#include "net/wire.h"

namespace boxlite::net {
namespace {

constexpr std::uint8_t kHopLimit = 64;
constexpr std::size_t kIcmpQuote = 548;    // so that the whole is no more than 576 bytes, RFC 1812 section 4.3.2.3
constexpr std::size_t kIcmp6Quote = 1232;  // 1280, RFC 4443 section 2.4

void put_ethernet(std::span<std::uint8_t> frame, std::uint16_t type) {
  std::ranges::copy(kGuestMac, frame.begin());
  std::ranges::copy(kGatewayMac, frame.begin() + 6);
  put16(frame, 12, type);
}

struct Ip4Fields {
  std::uint16_t id = 0;
  std::uint16_t fragment = 0x4000;  // don't fragment
  std::uint8_t protocol = 0;
  IpAddress source;
};

// For the box, with the length that the span has.
void put_ip4(std::span<std::uint8_t> ip, const Ip4Fields& fields) {
  ip[0] = 0x45;
  ip[1] = 0;
  put16(ip, 2, ip.size());
  put16(ip, 4, fields.id);
  put16(ip, 6, fields.fragment);
  ip[8] = kHopLimit;
  ip[9] = fields.protocol;
  put16(ip, 10, 0);
  std::ranges::copy(fields.source.bytes(), ip.begin() + 12);
  std::ranges::copy(kGuest4.bytes(), ip.begin() + 16);
  put16(ip, 10, Checksum().add(ip.first(kIp4Header)).value());
}

void put_ip6(std::span<std::uint8_t> ip, std::uint8_t protocol, const IpAddress& source, const IpAddress& destination) {
  put32(ip, 0, 0x60000000);
  put16(ip, 4, ip.size() - kIp6Header);
  ip[6] = protocol;
  ip[7] = kHopLimit;
  std::ranges::copy(source.bytes(), ip.begin() + 8);
  std::ranges::copy(destination.bytes(), ip.begin() + 24);
}

// A frame with its Ethernet and IP headers, and zeros for the transport part.
Frame blank(bool v6, std::uint8_t protocol, const IpAddress& source, const IpAddress& destination, std::size_t transport) {
  Frame frame(kEthernetHeader + (v6 ? kIp6Header : kIp4Header) + transport);
  put_ethernet(frame, v6 ? kTypeIp6 : kTypeIp4);
  const auto ip = std::span(frame).subspan(kEthernetHeader);
  if (v6) {
    put_ip6(ip, protocol, source, destination);
  } else {
    put_ip4(ip, {.protocol = protocol, .source = source});
  }
  return frame;
}

Frame reset_of(const Packet& packet) {
  const bool v6 = packet.source.is_v6();
  Frame frame = blank(v6, kProtocolTcp, packet.destination, packet.source, kTcpHeader);
  const auto asked = packet.transport();
  const auto tcp = std::span(frame).last(kTcpHeader);
  put16(tcp, 0, packet.destination_port);
  put16(tcp, 2, packet.source_port);
  const std::size_t data = asked.size() - static_cast<std::size_t>(asked[12] >> 4) * 4;
  const std::uint32_t flags_length =
      ((packet.tcp_flags & kTcpSyn) != 0 ? 1U : 0U) + ((packet.tcp_flags & kTcpFin) != 0 ? 1U : 0U);
  put32(tcp, 8, get32(asked, 4) + static_cast<std::uint32_t>(data) + flags_length);
  tcp[12] = 5 << 4;
  tcp[13] = kTcpRst | kTcpAck;
  put16(tcp, 16, transport_checksum(packet.destination, packet.source, kProtocolTcp, tcp));
  return frame;
}

Frame prohibition_of(const Packet& packet) {
  const bool v6 = packet.source.is_v6();
  const IpAddress& gateway = v6 ? kGateway6 : kGateway4;
  const auto quote = packet.ip().first(std::min(packet.ip().size(), v6 ? kIcmp6Quote : kIcmpQuote));
  Frame frame = blank(v6, v6 ? kIcmp6 : kIcmp, gateway, packet.source, kIcmpHeader + quote.size());
  const auto icmp = std::span(frame).last(kIcmpHeader + quote.size());
  icmp[0] = v6 ? 1 : 3;   // destination unreachable
  icmp[1] = v6 ? 1 : 13;  // administratively prohibited
  std::ranges::copy(quote, icmp.begin() + kIcmpHeader);
  put16(icmp, 2, v6 ? transport_checksum(gateway, packet.source, kIcmp6, icmp) : Checksum().add(icmp).value());
  return frame;
}

std::uint16_t adjusted(std::uint16_t checksum, std::span<const std::uint8_t> before, std::span<const std::uint8_t> after) {
  Checksum sum;
  sum.add(static_cast<std::uint16_t>(~checksum));
  for (std::size_t i = 0; i < before.size(); i += 2) sum.add(static_cast<std::uint16_t>(~get16(before, i)));
  return sum.add(after).value();
}

}  // namespace

Frame denial_of(const Packet& packet) { return packet.protocol == kProtocolTcp ? reset_of(packet) : prohibition_of(packet); }

void make_udp_frames(const UdpDatagram& datagram, std::uint32_t mtu,
                     const std::function<void(std::span<const std::uint8_t>)>& emit) {
  static std::uint16_t next_id = 0;
  std::vector<std::uint8_t> udp(kUdpHeader + datagram.data.size());
  put16(udp, 0, datagram.source_port);
  put16(udp, 2, datagram.destination_port);
  put16(udp, 4, udp.size());
  std::ranges::copy(datagram.data, udp.begin() + kUdpHeader);
  const std::uint16_t sum = transport_checksum(datagram.source, kGuest4, kProtocolUdp, udp);
  put16(udp, 6, sum == 0 ? 0xffff : sum);

  const bool whole = udp.size() + kIp4Header <= mtu;
  const std::size_t step = whole ? udp.size() : (mtu - kIp4Header) / 8 * 8;
  const std::uint16_t id = next_id++;
  for (std::size_t at = 0; at < udp.size(); at += step) {
    const auto part = std::span(udp).subspan(at, std::min(step, udp.size() - at));
    const bool more = at + part.size() < udp.size();
    Frame frame(kEthernetHeader + kIp4Header + part.size());
    put_ethernet(frame, kTypeIp4);
    const auto fragment = static_cast<std::uint16_t>(whole ? 0x4000 : (more ? 0x2000U : 0U) | at / 8);
    put_ip4(std::span(frame).subspan(kEthernetHeader),
            {.id = id, .fragment = fragment, .protocol = kProtocolUdp, .source = datagram.source});
    std::ranges::copy(part, frame.begin() + kEthernetHeader + kIp4Header);
    emit(frame);
  }
}

void set_source(const Packet& packet, const IpAddress& address) {
  const auto ip = packet.ip();
  const auto field = ip.subspan(12, 4);
  std::array<std::uint8_t, 4> before;
  std::ranges::copy(field, before.begin());
  std::ranges::copy(address.bytes(), field.begin());
  put16(ip, 10, adjusted(get16(ip, 10), before, field));
  if (packet.fragment) return;

  const auto transport = packet.transport();
  const std::size_t sum_at = packet.protocol == kProtocolTcp ? 16 : 6;
  const std::uint16_t sum = get16(transport, sum_at);
  if (packet.protocol == kProtocolUdp && sum == 0) return;  // none was computed
  put16(transport, sum_at, adjusted(sum, before, field));
}

}  // namespace boxlite::net

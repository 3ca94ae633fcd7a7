#include "net/gate.h"

#include <algorithm>
#include <vector>

#include "net/addresses.h"
#include "net/frames.h"
#include "net/reachability.h"
#include "net/wire.h"

namespace boxlite::net {
namespace {

constexpr std::size_t kArpFrame = kEthernetHeader + 28;

bool source_is_box(const Packet& packet) {
  if (packet.source == kGuest4 || packet.source == kGuest6) return true;
  // Neighbour discovery is spoken with link-local addresses, or with none while an address is being tried.
  if (packet.protocol != kIcmp6 || packet.icmp_type < 133 || packet.icmp_type > 137) return false;
  return packet.source.in(IpAddress::v6({0xfe, 0x80}), 10) || packet.source == IpAddress::v6({});
}

// 0 in UDP: none was computed.
bool udp_checksum_right(const Packet& packet) {
  const auto bytes = packet.transport().first(get16(packet.transport(), 4));
  return get16(bytes, 6) == 0 || transport_checksum(packet.source, packet.destination, kProtocolUdp, bytes) == 0;
}

}  // namespace

void Gate::from_box(std::span<std::uint8_t> frame) {
  if (frame.size() < kEthernetHeader || !std::ranges::equal(frame.subspan(6, 6), kGuestMac)) return drop();
  if (get16(frame, 12) == kTypeArp) return from_box_arp(frame);
  from_box_ip(frame);
}

void Gate::from_box_arp(std::span<const std::uint8_t> frame) {
  if (frame.size() < kArpFrame) return drop();
  const auto arp = frame.subspan(kEthernetHeader, 28);
  const bool ethernet_ip4 = get32(arp, 0) == 0x00010800 && get16(arp, 4) == 0x0604;
  const IpAddress sender = IpAddress::from_bytes(arp.subspan(14, 4));
  const bool ours = std::ranges::equal(arp.subspan(8, 6), kGuestMac) && (sender == kGuest4 || sender == IpAddress());
  if (!ethernet_ip4 || !ours) return drop();
  exits_.to_stack(frame.first(kArpFrame));
}

void Gate::from_box_ip(std::span<std::uint8_t> frame) {
  const auto packet = parse_packet(frame);
  if (!packet) return drop();
  // Whatever its source: a guest's kernel sends some before it has an address.
  if (packet->protocol != kIcmp6 && is_multicast_or_broadcast(packet->destination)) return;
  if (!source_is_box(*packet)) return drop();
  if (!packet->fragment) return from_box_whole(*packet);
  if (packet->protocol == kProtocolTcp) return drop();
  auto whole = defragmenter_.add(*packet, Defragmenter::Clock::now());
  if (!whole) return;
  const auto reassembled = parse_packet(*whole);
  if (!reassembled) return drop();
  from_box_whole(*reassembled);
}

void Gate::from_box_whole(const Packet& packet) {
  if (packet.protocol == kProtocolUdp && packet.source == kGuest4 && exits_.to_published(packet)) return;
  switch (policy_.judge(packet)) {
    case Verdict::kPass:
      if (packet.protocol == kProtocolTcp && begins_connection(packet) && !exits_.room_for_connection()) return deny(packet);
      return exits_.to_stack(packet.frame);
    case Verdict::kDns:
      if (packet.protocol == kProtocolTcp) return exits_.to_stack(packet.frame);
      if (!udp_checksum_right(packet)) return drop();
      return exits_.to_name_service(packet.source_port, packet.udp_data());
    case Verdict::kIgnore:
      return;
    case Verdict::kDeny:
      return deny(packet);
  }
}

void Gate::deny(const Packet& packet) {
  count(counters_.denials);
  exits_.to_box(denial_of(packet));
  if (const std::string lines = denial_log_.line(packet, DenialLog::Clock::now()); !lines.empty()) exits_.log(lines);
}

void Gate::from_stack(std::span<const std::uint8_t> frame) {
  if (frame.size() < kEthernetHeader + kIp4Header || get16(frame, 12) != kTypeIp4) return exits_.to_box(frame);
  const IpAddress source = IpAddress::from_bytes(frame.subspan(kEthernetHeader + 12, 4));
  if (!source.in(IpAddress::v4(127, 0, 0, 0), 8)) return exits_.to_box(frame);

  // libslirp names a loopback sender so, when the box's socket spoke last to somebody else.
  std::vector<std::uint8_t> copy(frame.begin(), frame.end());
  const auto packet = parse_packet(copy);
  if (!packet || !policy_.host_access() || packet->protocol != kProtocolUdp) return drop();
  set_source(*packet, kHostAlias4);
  exits_.to_box(copy);
}

}  // namespace boxlite::net

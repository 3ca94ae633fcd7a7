#include "net/policy.h"

#include <algorithm>

#include "net/addresses.h"
#include "net/reachability.h"

namespace boxlite::net {
namespace {

constexpr std::uint8_t kEchoRequest = 8;
constexpr std::uint8_t kEchoRequest6 = 128;
constexpr std::uint8_t kNeighbourSolicitation = 135;
constexpr std::uint8_t kNeighbourAdvertisement = 136;
constexpr std::size_t kNeighbourMessage = 24;  // RFC 4861 section 4.3
constexpr std::uint16_t kBootpPort = 67;
constexpr std::uint16_t kTftpPort = 69;

constexpr IpAddress kSolicitedNodes = IpAddress::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff});
constexpr unsigned kSolicitedNodesPrefix = 104;
constexpr IpAddress kGatewayLinkLocal = IpAddress::v6({0xfe, 0x80}).with_last_byte(0x01);

}  // namespace

Verdict Policy::judge(const Packet& packet) const {
  if (packet.protocol == kIcmp6) return judge_icmp6(packet);
  if (is_multicast_or_broadcast(packet.destination)) return Verdict::kIgnore;
  switch (packet.protocol) {
    case kProtocolTcp:
      if (packet.destination == kGateway4 && packet.destination_port == kDnsPort) return Verdict::kDns;
      return begins_connection(packet) ? judge_destination(packet) : Verdict::kPass;
    case kProtocolUdp:
      if (packet.destination == kGateway4 && packet.destination_port == kDnsPort) return Verdict::kDns;
      // libslirp's own servers, at the host alias.
      if (packet.destination == kHostAlias4 && (packet.destination_port == kBootpPort || packet.destination_port == kTftpPort))
        return Verdict::kDeny;
      if (packet.destination == kHostAlias6 && packet.destination_port == kTftpPort) return Verdict::kDeny;
      return judge_destination(packet);
    case kIcmp:
      if (packet.icmp_type != kEchoRequest) return Verdict::kIgnore;
      return packet.destination == kGateway4 ? Verdict::kPass : judge_destination(packet);
    default:
      return Verdict::kIgnore;
  }
}

Verdict Policy::judge_icmp6(const Packet& packet) const {
  const bool neighbour = packet.icmp_type == kNeighbourSolicitation || packet.icmp_type == kNeighbourAdvertisement;
  if (neighbour) {
    const bool to_us = packet.destination.in(kSolicitedNodes, kSolicitedNodesPrefix) || packet.destination == kGateway6 ||
                       packet.destination == kHostAlias6 || packet.destination == kGatewayLinkLocal;
    return to_us && packet.hop_limit == 255 && packet.transport().size() >= kNeighbourMessage ? Verdict::kPass : Verdict::kIgnore;
  }
  if (packet.icmp_type != kEchoRequest6 || is_multicast_or_broadcast(packet.destination)) return Verdict::kIgnore;
  // libslirp 4.7 answers for the gateway and the host alias and can send no ICMPv6 out: the box is told that it cannot.
  if (packet.destination == kGateway6 || packet.destination == kGatewayLinkLocal) return Verdict::kPass;
  return packet.destination == kHostAlias6 ? judge_destination(packet) : Verdict::kDeny;
}

Verdict Policy::judge_destination(const Packet& packet) const {
  const IpAddress& to = packet.destination;
  const bool ours = to.in(kNetwork4, kPrefix4) || to.in(kNetwork6, kPrefix6);
  const bool alias = to == kHostAlias4 || to == kHostAlias6;
  if (ours && !(alias && host_access_)) return Verdict::kDeny;
  if (never_reachable(to)) return Verdict::kDeny;
  return allowed(packet) ? Verdict::kPass : Verdict::kDeny;
}

bool Policy::allowed(const Packet& packet) const {
  if (rules_.empty()) return true;
  const bool has_port = packet.protocol == kProtocolTcp || packet.protocol == kProtocolUdp;
  const auto port = has_port ? std::optional(packet.destination_port) : std::nullopt;
  return std::ranges::any_of(rules_, [&](const AllowRule& rule) { return rule.matches(packet.destination, port); });
}

}  // namespace boxlite::net

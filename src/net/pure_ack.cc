#include "net/pure_ack.h"

#include "net/packet.h"
#include "net/wire.h"

namespace boxlite::net {
namespace {

std::optional<PureAck> parse(std::span<const std::uint8_t> frame, std::size_t addresses_at, std::size_t tcp_at) {
  if (frame[tcp_at + 12] >> 4 != kTcpHeader / 4 || frame[tcp_at + 13] != kTcpAck) return std::nullopt;
  return PureAck{.connection = frame.subspan(addresses_at, tcp_at + 4 - addresses_at), .number = get32(frame, tcp_at + 8)};
}

}  // namespace

std::optional<PureAck> pure_ack(std::span<const std::uint8_t> frame) {
  constexpr std::size_t kTcp4 = kEthernetHeader + kIp4Header;
  constexpr std::size_t kTcp6 = kEthernetHeader + kIp6Header;
  if (frame.size() < kTcp4 + kTcpHeader) return std::nullopt;
  const std::uint16_t type = get16(frame, 12);
  if (type == kTypeIp4) {
    const bool whole = frame[14] == 0x45 && (get16(frame, 20) & 0x3fff) == 0;
    if (!whole || frame[23] != kProtocolTcp || get16(frame, 16) != kIp4Header + kTcpHeader) return std::nullopt;
    return parse(frame, 26, kTcp4);
  }
  if (type == kTypeIp6 && frame.size() >= kTcp6 + kTcpHeader) {
    if (frame[20] != kProtocolTcp || get16(frame, 18) != kTcpHeader) return std::nullopt;
    return parse(frame, 22, kTcp6);
  }
  return std::nullopt;
}

}  // namespace boxlite::net

#include "net/denial_log.h"

#include <fmt/format.h>

namespace boxlite::net {
namespace {

std::string describe(const Packet& packet) {
  if (packet.protocol != kProtocolTcp && packet.protocol != kProtocolUdp)
    return fmt::format("ping to {}", packet.destination.text());
  const std::string host = packet.destination.is_v6() ? "[" + packet.destination.text() + "]" : packet.destination.text();
  return fmt::format("{} to {}:{}", packet.protocol == kProtocolTcp ? "tcp" : "udp", host, packet.destination_port);
}

}  // namespace

std::string DenialLog::line(const Packet& packet, Clock::time_point now) { return line(describe(packet), now); }

std::string DenialLog::line(std::string_view what, Clock::time_point now) {
  if (now - second_ >= std::chrono::seconds(1)) {
    second_ = now;
    lines_ = 0;
  }
  if (lines_ == kLinesPerSecond) {
    ++left_out_;
    return "";
  }
  ++lines_;
  std::string line;
  if (left_out_ > 0) line = fmt::format("network: {} more denied\n", left_out_);
  left_out_ = 0;
  return line + fmt::format("network: denied {}\n", what);
}

}  // namespace boxlite::net

// TCP segments that do nothing but acknowledge. Of several of one connection that wait for the box only the last is of use: an
// acknowledgement counts for all that came before (RFC 9293, section 3.4).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

namespace boxlite::net {

struct PureAck {
  std::span<const std::uint8_t> connection;  // addresses and ports, of the frame
  std::uint32_t number = 0;

  /// The same connection is told of more. The same number again is a duplicate acknowledgement or a window's update: it says
  /// something of its own.
  bool replaces(const PureAck& other) const {
    return std::ranges::equal(connection, other.connection) && static_cast<std::int32_t>(number - other.number) > 0;
  }
};

/// Nullopt for a frame that is anything else: of another protocol, with data, options or another flag.
std::optional<PureAck> pure_ack(std::span<const std::uint8_t> frame);

}  // namespace boxlite::net

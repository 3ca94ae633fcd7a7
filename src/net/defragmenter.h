// Puts IPv4 fragments of the box together, so that policy and libslirp see whole packets only: nobody can be told one thing by
// the first fragment and another by the second, and what libslirp would keep without a bound is kept here within one.
//
// UDP and ICMP only; overlapping fragments end their datagram (as RFC 5722 has it for IPv6). At most kMaxDatagrams of 64 KiB are
// kept; the oldest goes when another begins.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "net/packet.h"

namespace boxlite::net {

class Defragmenter {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kMaxDatagrams = 8;

  /// Takes a fragment. The frame of the whole packet, once nothing is missing.
  std::optional<std::vector<std::uint8_t>> add(const Packet& fragment, Clock::time_point now);

 private:
  struct Datagram {
    IpAddress destination;
    std::uint16_t id = 0;
    std::uint8_t protocol = 0;
    Clock::time_point begun;
    std::vector<std::uint8_t> headers;  // Ethernet and IP, of the first fragment
    std::vector<std::uint8_t> data;
    std::vector<bool> present;  // by 8 bytes
    std::size_t received = 0;   // bytes
    std::size_t length = 0;     // known with the last fragment, 0 before
  };
  enum class Added { kMore, kWhole, kBroken };

  std::list<Datagram>::iterator find(const Packet& fragment, Clock::time_point now);
  static Added add_to(Datagram& datagram, const Packet& fragment);
  static std::vector<std::uint8_t> assemble(const Datagram& datagram);

  std::list<Datagram> datagrams_;  // the oldest first
};

}  // namespace boxlite::net

// Lines about denied packets on standard error, a few a second: the guest decides how many there are.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "net/packet.h"

namespace boxlite::net {

class DenialLog {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kLinesPerSecond = 10;

  /// The line to write, or none ("" then). What was left out is said with the next one.
  std::string line(const Packet& packet, Clock::time_point now);
  std::string line(std::string_view what, Clock::time_point now);

 private:
  Clock::time_point second_ = {};
  int lines_ = 0;
  std::uint64_t left_out_ = 0;
};

}  // namespace boxlite::net

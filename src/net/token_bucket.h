// A limit of bytes a second, for frames that are never cut: a frame passes while there is any token, and may leave the bucket in
// debt. So the long-run rate is exact, whatever the frames' sizes. Filled by looking at the clock: no timer runs when nothing
// waits.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace boxlite::net {

class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;

  /// Holds what 100 ms bring, at least one frame of `max_frame` bytes. 0 kilobits a second: no limit.
  TokenBucket(std::uint64_t kbps, std::size_t max_frame, Clock::time_point now)
      : bytes_per_second_(static_cast<double>(kbps) * 125.0),
        capacity_(std::max(bytes_per_second_ / 10.0, static_cast<double>(max_frame))),
        tokens_(capacity_),
        filled_(now) {}

  bool open(Clock::time_point now) {
    if (bytes_per_second_ == 0) return true;
    tokens_ = std::min(capacity_, tokens_ + std::chrono::duration<double>(now - filled_).count() * bytes_per_second_);
    filled_ = now;
    return tokens_ > 0;
  }

  void take(std::size_t bytes) {
    if (bytes_per_second_ != 0) tokens_ -= static_cast<double>(bytes);
  }

  /// When a closed bucket is worth another look: once it is out of debt.
  Clock::time_point opens_at() const {
    const double seconds = std::max(-tokens_ / bytes_per_second_, 0.0);
    return filled_ + std::chrono::ceil<std::chrono::milliseconds>(std::chrono::duration<double>(seconds)) +
           std::chrono::milliseconds(1);
  }

 private:
  double bytes_per_second_;
  double capacity_;
  double tokens_;
  Clock::time_point filled_;
};

}  // namespace boxlite::net

// The descriptors one turn of the event loop waits for. Every part adds its own before the wait and asks for what happened after
// it.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <vector>

namespace boxlite::net {

using Clock = std::chrono::steady_clock;

class PollSet {
 public:
  void clear() {
    entries_.clear();
    wake_.reset();
  }

  /// The index to ask revents() with.
  int add(int fd, short events) {
    entries_.push_back({fd, events, 0});
    return static_cast<int>(entries_.size()) - 1;
  }

  /// The wait ends at the earliest of these at the latest.
  void wake_at(Clock::time_point when) {
    if (!wake_ || when < *wake_) wake_ = when;
  }

  void wait() {
    int timeout_ms = -1;
    if (wake_) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*wake_ - Clock::now()).count();
      timeout_ms = left <= 0 ? 0 : static_cast<int>(left);
    }
    failed_ = ::poll(entries_.data(), entries_.size(), timeout_ms) < 0;
  }

  /// 0 for an index of nobody (-1).
  short revents(int index) const { return failed_ || index < 0 ? short{0} : entries_[static_cast<std::size_t>(index)].revents; }

 private:
  std::vector<pollfd> entries_;
  std::optional<Clock::time_point> wake_;
  bool failed_ = false;
};

}  // namespace boxlite::net

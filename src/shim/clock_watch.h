// Notices that the guest's clock has fallen behind: the host was suspended, or its wall clock was set.
//
// The guest counts time from its virtual CPU's counter, which stands still while the host sleeps. A timer on CLOCK_REALTIME with
// TFD_TIMER_CANCEL_ON_SET wakes exactly then (the kernel treats a resume as a clock change), so nothing polls.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"
#include "shim/event_loop.h"

namespace boxlite::shim {

class ClockWatch {
 public:
  /// `on_jump`: the wall clock has moved against the guest's by more than 100 ms.
  static Result<std::unique_ptr<ClockWatch>> begin(EventLoop& loop, std::function<void()> on_jump);

 private:
  ClockWatch(EventLoop& loop, UniqueFd timer, std::function<void()> on_jump);
  Result<void> arm();
  void wait();

  UniqueFd timer_;
  Watch watch_;
  std::function<void()> on_jump_;
  std::int64_t offset_ns_;  // CLOCK_REALTIME − CLOCK_MONOTONIC at the last look; a suspend changes it as well as a set clock
};

/// CLOCK_REALTIME in nanoseconds.
std::uint64_t wall_clock_ns();

}  // namespace boxlite::shim

#include "shim/clock_watch.h"

#include <sys/timerfd.h>
#include <time.h>

#include <cstdlib>

#include "base/sys.h"

namespace boxlite::shim {
namespace {

constexpr std::int64_t kTolerance = 100'000'000;
constexpr time_t kNever = 9'000'000'000;  // the year 2255: only a change of the clock ends the wait

std::int64_t clock_ns(clockid_t clock) {
  timespec now = {};
  ::clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::int64_t offset_ns() { return clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC); }

}  // namespace

std::uint64_t wall_clock_ns() { return static_cast<std::uint64_t>(clock_ns(CLOCK_REALTIME)); }

Result<std::unique_ptr<ClockWatch>> ClockWatch::begin(EventLoop& loop, std::function<void()> on_jump) {
  UniqueFd timer(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) return fail_errno("timerfd_create");
  std::unique_ptr<ClockWatch> watch(new ClockWatch(loop, std::move(timer), std::move(on_jump)));
  TRY(watch->arm());
  watch->wait();
  return watch;
}

ClockWatch::ClockWatch(EventLoop& loop, UniqueFd timer, std::function<void()> on_jump)
    : timer_(std::move(timer)), watch_(loop, timer_.get()), on_jump_(std::move(on_jump)), offset_ns_(offset_ns()) {}

Result<void> ClockWatch::arm() {
  itimerspec never = {};
  never.it_value.tv_sec = kNever;
  if (::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, nullptr) < 0) {
    return fail_errno("timerfd_settime");
  }
  return {};
}

void ClockWatch::wait() {
  watch_.on_readable([this] {
    std::uint64_t ignored = 0;
    (void)sys::read(timer_.get(), std::as_writable_bytes(std::span(&ignored, 1)));  // ECANCELED
    const std::int64_t now = offset_ns();
    const bool jumped = std::abs(now - std::exchange(offset_ns_, now)) > kTolerance;
    if (!arm()) return;
    wait();
    if (jumped) on_jump_();
  });
}

}  // namespace boxlite::shim

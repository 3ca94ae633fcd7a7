// The agent's one thread: waits for descriptors and timers, calls their handlers.
//
// A handler may watch, change or forget any descriptor, also its own and also one whose event is already in hand: events are
// matched against the registration they were made for, so none reaches a handler that is gone or that took over a reused number.
#pragma once

#include <sys/epoll.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::agent {

class EventLoop {
 public:
  using Handler = std::function<void(std::uint32_t events)>;
  static Result<std::unique_ptr<EventLoop>> create();
  explicit EventLoop(UniqueFd epoll) : epoll_(std::move(epoll)) {}
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// EPOLLIN, EPOLLOUT, EPOLLET. With 0 the descriptor is not in the set at all: even a hang-up, which nobody can mask, is
  /// silent.
  Result<void> watch(int fd, std::uint32_t events, Handler handler);
  Result<void> set_interest(int fd, std::uint32_t events);
  /// Must be called before the descriptor is closed.
  void forget(int fd);

  using TimerId = std::uint64_t;
  TimerId after(std::chrono::milliseconds delay, std::function<void()> action);
  void cancel(TimerId id);

  /// One wait and the handlers of what it brought.
  Result<void> turn();

 private:
  struct Watch {
    std::uint32_t registration;
    std::uint32_t events;
    std::shared_ptr<Handler> handler;  // shared: it may forget itself while it runs
  };
  struct Timer {
    TimerId id;
    std::function<void()> action;
  };
  using Clock = std::chrono::steady_clock;

  int wait_ms() const;
  void run_timers();

  UniqueFd epoll_;
  std::map<int, Watch> watches_;
  std::uint32_t next_registration_ = 1;
  std::multimap<Clock::time_point, Timer> timers_;
  TimerId next_timer_ = 1;
};

}  // namespace boxlite::agent

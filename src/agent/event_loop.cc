#include "agent/event_loop.h"

#include <algorithm>
#include <array>

namespace boxlite::agent {

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return fail_errno("epoll_create1");
  return std::make_unique<EventLoop>(std::move(epoll));
}

Result<void> EventLoop::watch(int fd, std::uint32_t events, Handler handler) {
  watches_[fd] = Watch{next_registration_++, 0, std::make_shared<Handler>(std::move(handler))};
  return set_interest(fd, events);
}

Result<void> EventLoop::set_interest(int fd, std::uint32_t events) {
  const auto it = watches_.find(fd);
  if (it == watches_.end() || it->second.events == events) return {};
  epoll_event event = {};
  event.events = events;
  event.data.u64 = (std::uint64_t{it->second.registration} << 32U) | static_cast<std::uint32_t>(fd);
  const int operation = events == 0 ? EPOLL_CTL_DEL : it->second.events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (::epoll_ctl(epoll_.get(), operation, fd, &event) < 0) return fail_errno("epoll_ctl");
  it->second.events = events;
  return {};
}

void EventLoop::forget(int fd) {
  (void)set_interest(fd, 0);
  watches_.erase(fd);
}

EventLoop::TimerId EventLoop::after(std::chrono::milliseconds delay, std::function<void()> action) {
  const TimerId id = next_timer_++;
  timers_.emplace(Clock::now() + delay, Timer{id, std::move(action)});
  return id;
}

void EventLoop::cancel(TimerId id) {
  std::erase_if(timers_, [&](const auto& entry) { return entry.second.id == id; });
}

int EventLoop::wait_ms() const {
  if (timers_.empty()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first - Clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

void EventLoop::run_timers() {
  while (!timers_.empty() && timers_.begin()->first <= Clock::now()) {
    const std::function<void()> action = std::move(timers_.begin()->second.action);
    timers_.erase(timers_.begin());
    action();
  }
}

Result<void> EventLoop::turn() {
  std::array<epoll_event, 32> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait_ms());
  if (count < 0 && errno != EINTR) return fail_errno("epoll_wait");
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    const auto it = watches_.find(static_cast<int>(event.data.u64 & 0xffffffffU));
    if (it == watches_.end() || it->second.registration != event.data.u64 >> 32U || it->second.events == 0) continue;
    const std::shared_ptr<Handler> handler = it->second.handler;
    (*handler)(event.events);
  }
  run_timers();
  return {};
}

}  // namespace boxlite::agent

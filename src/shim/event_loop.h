// Boost.Asio's event loop, with lifetimes that cannot go wrong: a Watch or Timer that is gone never calls back, whatever was
// queued.
//
// Everything of the shim runs on one loop in one thread. Nothing on it may block. Asio itself is seen by event_loop.cc alone.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

namespace boxlite::shim {

class EventLoop {
 public:
  EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop();

  /// Until stop().
  void run();
  void stop();
  /// Waits for one thing to happen, and does it.
  void run_one();
  /// Runs it in the loop's next turn.
  void post(std::function<void()> callback);
  /// Calls back for each SIGTERM and SIGINT.
  void on_termination(std::function<void()> callback);

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// Readiness of one descriptor, which somebody else owns and keeps open longer than this. Each wait is for one event, and calls
/// back once; at most one of a kind at a time. The callback may destroy the Watch.
class Watch {
 public:
  Watch(EventLoop& loop, int fd);
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch();

  void on_readable(std::function<void()> callback);
  void on_writable(std::function<void()> callback);
  /// Something is wrong with it, or the other side has closed.
  void on_hangup(std::function<void()> callback);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

class Timer {
 public:
  explicit Timer(EventLoop& loop);
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer();

  /// Replaces what was set before.
  void start(std::chrono::milliseconds after, std::function<void()> callback);
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace boxlite::shim

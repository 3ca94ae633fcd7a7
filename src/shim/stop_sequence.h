// From "please end" to "it has ended": each step is tried, given its time, and followed by a harder one.
//
//   signal    the stop signal to the main command            grace
//   shutdown  the agent kills the container, syncs, powers off    kShutdownPatience
//   quit      QEMU is told to end                             kQuitPatience
//   kill      the VM's processes are killed                   kKillPatience
//   kill_jail what holds them is killed: it was stopped       (the kernel does not fail)
//
// A sequence only ever moves forward: a later request may begin further on, or shorten a grace, never lengthen it. The VM's end
// ends it.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "shim/event_loop.h"

namespace boxlite::shim {

class StopSequence {
 public:
  static constexpr std::chrono::seconds kShutdownPatience{10};
  static constexpr std::chrono::seconds kQuitPatience{2};
  static constexpr std::chrono::seconds kKillPatience{5};
  /// How long the VM may take to power off by itself after its main command has ended.
  static constexpr std::chrono::seconds kPowerOffPatience{30};

  struct Actions {
    std::function<void()> signal;
    std::function<void()> shutdown;
    std::function<void()> quit;
    std::function<void()> kill;
    std::function<void()> kill_jail;
  };

  StopSequence(EventLoop& loop, Actions actions) : timer_(loop), actions_(std::move(actions)) {}

  /// The whole sequence.
  void stop(std::chrono::milliseconds grace);
  /// From the shutdown on.
  void shut_down();
  /// From QEMU's quit on: there is no agent to talk to.
  void quit();
  /// From the kill on: it never got so far that there would be something to save.
  void kill();
  /// The guest is to end by itself within `patience` (its command has ended, or got SIGKILL): the shutdown follows if it does
  /// not.
  void expect_end(std::chrono::milliseconds patience);
  /// The VM has ended.
  void finish();

  bool begun() const { return step_ != Step::kNone; }

 private:
  using Clock = std::chrono::steady_clock;
  enum class Step { kNone, kWaiting, kShutdown, kQuit, kKill, kKillJail, kDone };

  void wait(std::chrono::milliseconds patience);
  void kill_jail();

  Timer timer_;
  Actions actions_;
  Step step_ = Step::kNone;
  bool signalled_ = false;
  std::optional<Clock::time_point> deadline_;  // while kWaiting
};

}  // namespace boxlite::shim

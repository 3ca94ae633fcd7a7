#include "shim/stop_sequence.h"

#include <utility>

namespace boxlite::shim {

void StopSequence::wait(std::chrono::milliseconds patience) {
  const auto deadline = Clock::now() + patience;
  if (step_ > Step::kWaiting || (deadline_ && *deadline_ <= deadline)) return;
  step_ = Step::kWaiting;
  deadline_ = deadline;
  timer_.start(patience, [this] { shut_down(); });
}

void StopSequence::stop(std::chrono::milliseconds grace) {
  if (step_ > Step::kWaiting) return;
  if (!std::exchange(signalled_, true)) actions_.signal();
  wait(grace);
}

void StopSequence::expect_end(std::chrono::milliseconds patience) { wait(patience); }

void StopSequence::shut_down() {
  if (step_ >= Step::kShutdown) return;
  step_ = Step::kShutdown;
  timer_.start(kShutdownPatience, [this] { quit(); });
  actions_.shutdown();
}

void StopSequence::quit() {
  if (step_ >= Step::kQuit) return;
  step_ = Step::kQuit;
  timer_.start(kQuitPatience, [this] { kill(); });
  actions_.quit();
}

void StopSequence::kill() {
  if (step_ >= Step::kKill) return;
  step_ = Step::kKill;
  timer_.start(kKillPatience, [this] { kill_jail(); });
  actions_.kill();
}

void StopSequence::kill_jail() {
  if (step_ >= Step::kKillJail) return;
  step_ = Step::kKillJail;
  actions_.kill_jail();
}

void StopSequence::finish() {
  step_ = Step::kDone;
  timer_.stop();
}

}  // namespace boxlite::shim

// A container like a box's, with a command that does nothing, made and ended before a template of an image is saved. What a box
// does at its start has been done once then: under TCG the code for it is translated, in the agent and in the kernel
// (docs/decisions/020-process-images.md), and what it allocates is there.
//
// The command is the agent's own program, not one of the image: nothing of the image runs. Nothing of it is left but what every
// box would make on the root disk too, the mount points of the container's files in /etc.
#pragma once

#include <functional>
#include <memory>

#include "agent/event_loop.h"
#include "agent/launch.h"
#include "agent/session.h"
#include "base/result.h"

namespace boxlite::agent {

/// The only argument of the agent when it is that command.
inline constexpr const char* kRehearsalArgument = "rehearsal";

class Rehearsal {
 public:
  /// With the root disk mounted and the container's cgroup made. `on_end` is called once from the loop, when the command has
  /// ended or could not be started; the process is the caller's to reap.
  static Result<std::unique_ptr<Rehearsal>> begin(EventLoop& loop, bool privileged, std::function<void(Result<void>)> on_end);
  Rehearsal(const Rehearsal&) = delete;
  Rehearsal& operator=(const Rehearsal&) = delete;
  ~Rehearsal();

 private:
  Rehearsal(EventLoop& loop, Launched container, std::shared_ptr<Session> session, std::function<void(Result<void>)> on_end);
  Result<void> start();
  Result<void> send();
  void end();

  EventLoop& loop_;
  Launched container_;
  std::shared_ptr<Session> session_;
  std::function<void(Result<void>)> on_end_;
  std::unique_ptr<ReportReader> reader_;
  int pidfd_;  // the container's, then the session's
  bool sent_ = false;
  Result<void> result_;
};

}  // namespace boxlite::agent

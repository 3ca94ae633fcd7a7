// Lets what a checkpoint must not catch in motion stand still: the container's processes (the freezer of cgroups), or the root
// file system (fsfreeze(8)).
#pragma once

#include <functional>
#include <optional>

#include "agent/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::agent {

class Freezer {
 public:
  explicit Freezer(EventLoop& loop) : loop_(loop) {}
  Freezer(const Freezer&) = delete;
  Freezer& operator=(const Freezer&) = delete;
  ~Freezer() { stop_waiting(); }

  /// `on_frozen`: none of them runs any more; an error: they have not come to rest in time, and go on. `write_out`: what they
  /// have written is on the disk then, for whoever has nothing but the disk.
  Result<void> freeze_processes(bool write_out, std::function<void(Result<void>)> on_frozen);

  /// What is dirty is written out first, which may take its time.
  Result<void> freeze_file_system();

  /// Whatever is frozen goes on; nothing frozen is no error.
  Result<void> thaw();

 private:
  void look();
  void finish(Result<void> result);
  void stop_waiting();

  EventLoop& loop_;
  UniqueFd events_;  // while it waits for the processes
  std::optional<EventLoop::TimerId> deadline_;
  std::function<void(Result<void>)> on_frozen_;
  bool processes_ = false;
  bool write_out_ = false;
  bool file_system_ = false;
};

}  // namespace boxlite::agent

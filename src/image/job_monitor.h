// What long work in a job asks all the time: may it go on, and who should hear how far it is.
//
// Every loop over bytes calls step() or check(); both fail once the job was told to end (SIGTERM), its reader has gone or a part
// of it failed (cancel()), and that error unwinds the job, which removes its temporary files on the way. Nothing else ends a job
// early. Safe for use by several threads at once.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "base/result.h"
#include "image/image_job.h"

namespace boxlite::image {

class JobMonitor {
 public:
  using Emit = std::function<Result<void>(const JobProgress&)>;
  /// Tells whether the job should end now; may be called very often, and by several threads.
  using Interrupted = std::function<bool()>;
  /// Returns after that time, or when the job should end.
  using Pause = std::function<void(std::chrono::milliseconds)>;

  /// Without a `pause`, pause() does not wait: for tests.
  JobMonitor(
      Emit emit, Interrupted interrupted, Pause pause = [](std::chrono::milliseconds) {})
      : emit_(std::move(emit)), interrupted_(std::move(interrupted)), pause_(std::move(pause)) {}

  /// Reports progress, of each `what` at most ten times a second; its beginning and its end always.
  Result<void> step(const std::string& what, std::uint64_t done, std::uint64_t total);

  Result<void> check() const;

  /// Waits, unless the job should end.
  Result<void> pause(std::chrono::milliseconds time) const;

  /// One thread failed: the others shall end.
  void cancel() { cancelled_ = true; }

 private:
  Emit emit_;
  Interrupted interrupted_;
  Pause pause_;
  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;
  std::map<std::string, std::chrono::steady_clock::time_point> last_time_;  // of what is not finished
};

}  // namespace boxlite::image

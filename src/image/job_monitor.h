// What long work in a job asks all the time: may it go on, and who should hear how far it is.
//
// Every loop over bytes calls step() or check(); both fail once the job was told to end (SIGTERM) or its reader has gone, and
// that error unwinds the job, which removes its temporary files on the way. Nothing else ends a job early.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"
#include "image/image_job.h"

namespace boxlite::image {

class JobMonitor {
 public:
  using Emit = std::function<Result<void>(const JobProgress&)>;
  /// Tells whether the job should end now; may be called very often.
  using Interrupted = std::function<bool()>;

  JobMonitor(Emit emit, Interrupted interrupted) : emit_(std::move(emit)), interrupted_(std::move(interrupted)) {}

  /// Reports progress, at most ten times a second; the beginning of a `what` and its end always.
  Result<void> step(const std::string& what, std::uint64_t done, std::uint64_t total);

  Result<void> check() const;

 private:
  Emit emit_;
  Interrupted interrupted_;
  std::string last_what_;
  std::chrono::steady_clock::time_point last_time_;
};

}  // namespace boxlite::image

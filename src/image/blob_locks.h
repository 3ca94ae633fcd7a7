// Who fetches a blob: of several jobs that want it at once, the one that holds <home>/images/locks/<hex>.
//
// A job locks all blobs that it is going to fetch before the first byte, in the order of their digests, so that two jobs never
// wait for each other, and holds them until it has published them or failed. A job that had to wait looks into the store again.
// The image's configuration is always among them, so one image's base disk is built once, too. The kernel drops the locks of a
// killed job; its files are removed by the next one.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/ofd_lock.h"
#include "base/result.h"
#include "image/digest.h"
#include "image/job_monitor.h"

namespace boxlite::image {

class BlobLocks {
 public:
  /// Waits for jobs that hold one of them; fails when this job should end.
  static Result<BlobLocks> acquire(const std::string& home, const std::set<Digest>& digests, JobMonitor& monitor);

  BlobLocks(BlobLocks&&) = default;
  BlobLocks& operator=(BlobLocks&&) = delete;
  ~BlobLocks();

 private:
  BlobLocks() = default;
  struct Held {
    std::string path;
    OfdLock lock;
  };
  std::vector<Held> held_;
};

}  // namespace boxlite::image

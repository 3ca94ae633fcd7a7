#include "image/blob_locks.h"

#include <dirent.h>

#include <algorithm>
#include <memory>

#include "base/file.h"
#include "base/sys.h"

namespace boxlite::image {
namespace {

// Those of jobs that were killed.
Result<void> sweep(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), ::closedir);
  if (!stream) return fail_errno("opendir {}", directory);
  while (const dirent* entry = ::readdir(stream.get())) {
    if (!Digest::parse(fmt::format("sha256:{}", entry->d_name), "lock")) continue;
    const std::string path = fmt::format("{}/{}", directory, entry->d_name);
    const auto lock = OfdLock::try_acquire(path);
    if (lock && *lock && (*lock)->still_linked()) (void)sys::unlink(path);
  }
  return {};
}

Result<OfdLock> wait_for(const std::string& path, JobMonitor& monitor) {
  // The kernel's waiting form would not notice that this job's own reader has gone.
  for (auto pause = std::chrono::milliseconds(10);; pause = std::min(pause * 2, std::chrono::milliseconds(200))) {
    TRY_ASSIGN(std::optional<OfdLock> lock, OfdLock::try_acquire(path));
    if (lock && lock->still_linked()) return std::move(*lock);
    if (lock) continue;  // its holder removed it between our opening and locking it
    TRY(monitor.step("another pull of the same layers", 0, 0));
    TRY(monitor.pause(pause));
  }
}

}  // namespace

Result<BlobLocks> BlobLocks::acquire(const std::string& home, const std::set<Digest>& digests, JobMonitor& monitor) {
  const std::string directory = home + "/images/locks";
  TRY(ensure_directory(directory, 0700));
  TRY(sweep(directory));
  BlobLocks locks;
  for (const Digest& digest : digests) {
    std::string path = fmt::format("{}/{}", directory, digest.hex());
    TRY_ASSIGN(OfdLock lock, wait_for(path, monitor));
    locks.held_.push_back({.path = std::move(path), .lock = std::move(lock)});
  }
  return locks;
}

BlobLocks::~BlobLocks() {
  // Unlinked while it is held: whoever waits for it sees that and takes a new one.
  for (const Held& held : held_) (void)sys::unlink(held.path);
}

}  // namespace boxlite::image

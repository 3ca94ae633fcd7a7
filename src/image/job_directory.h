// The temporary directory of one job: <home>/tmp/image-<hex>/, guarded by the lock file <home>/tmp/image-<hex>.lock.
//
// A job that ends in any way but SIGKILL removes both. After SIGKILL the kernel drops the lock, and the next job on this home
// finds it free and removes both: a directory is somebody's exactly while its lock is held, whatever its age.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/ofd_lock.h"
#include "base/result.h"

namespace boxlite::image {

class JobDirectory {
 public:
  /// Makes the directory; removes those of dead jobs first.
  static Result<JobDirectory> create(const std::string& home);

  /// The directories of dead jobs.
  static Result<std::vector<std::string>> abandoned(const std::string& home);

  /// Removes them.
  static Result<void> sweep(const std::string& home);

  JobDirectory(JobDirectory&&) = default;
  ~JobDirectory();

  const std::string& path() const { return path_; }

 private:
  JobDirectory(std::string path, OfdLock lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  std::string path_;
  std::optional<OfdLock> lock_;
};

}  // namespace boxlite::image

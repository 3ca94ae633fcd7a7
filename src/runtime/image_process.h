// Runs the program boxlite-image for one job (image/image_job.h): starts it, feeds it, listens to it.
#pragma once

#include <functional>
#include <vector>

#include "base/ofd_lock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "boxlite/image.h"
#include "image/image_job.h"
#include "runtime/paths.h"

namespace boxlite {

struct JobOutcome {
  std::vector<ImageInfo> images;
  /// The store's lock, shared: to be held until the rows that refer to the images are written.
  OfdLock store;
};

/// A copy of the descriptor that a job can inherit: its numbers 0 to 2 are its own. `name` is for the message.
Result<UniqueFd> inheritable(int fd, const std::string& name);

/// The request's descriptors must be inheritable(). The home, and the descriptor of the store's lock, are filled in.
Result<JobOutcome> run_image_job(const HomePaths& paths, image::JobRequest request,
                                 const std::function<void(const PullProgress&)>& on_progress);

}  // namespace boxlite

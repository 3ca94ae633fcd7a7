// One image job from its request to the records of its images: resolve, fetch, build, commit.
#pragma once

#include <vector>

#include "base/result.h"
#include "image/image_job.h"
#include "image/job_monitor.h"

namespace boxlite::image {

/// The images that are there now, each once for each of its names.
Result<std::vector<ImageInfo>> run_job(const JobRequest& request, JobMonitor& monitor);

}  // namespace boxlite::image

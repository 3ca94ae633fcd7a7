// One image job from its request to the record of the image: resolve, fetch, build, commit.
#pragma once

#include "base/result.h"
#include "image/image_job.h"
#include "image/job_monitor.h"

namespace boxlite::image {

Result<ImageInfo> run_job(const JobRequest& request, JobMonitor& monitor);

}  // namespace boxlite::image

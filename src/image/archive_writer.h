// Images as one tar that is both, what `docker save` writes (manifest.json) and an OCI image layout (index.json, blobs).
#pragma once

#include "base/result.h"
#include "image/image_job.h"
#include "image/job_monitor.h"

namespace boxlite::image {

/// Writes request.images to request.archive_fd.
Result<void> save_archive(const JobRequest& request, JobMonitor& monitor);

}  // namespace boxlite::image

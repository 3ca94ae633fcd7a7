// The jobs for archives: load, import, and a directory of the host as a root. Saving is archive_writer.h.
//
// An archive of images is taken in both of its dialects: docker's (manifest.json), which wins where both are there, since it has
// whole names, and the OCI image layout (index.json). All of its images become the home's at once.
#pragma once

#include <vector>

#include "base/result.h"
#include "boxlite/image.h"
#include "image/image_job.h"
#include "image/job_monitor.h"

namespace boxlite::image {

Result<std::vector<ImageInfo>> load_archive(const JobRequest& request, JobMonitor& monitor);
Result<std::vector<ImageInfo>> import_root(const JobRequest& request, JobMonitor& monitor);
Result<std::vector<ImageInfo>> import_directory(const JobRequest& request, JobMonitor& monitor);

}  // namespace boxlite::image

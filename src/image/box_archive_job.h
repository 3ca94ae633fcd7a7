// The jobs that write and read the archive of a box (image/box_archive.h).
#pragma once

#include "base/result.h"
#include "image/image_job.h"
#include "image/job_monitor.h"

namespace boxlite::image {

/// Writes request.members to request.archive_fd.
Result<void> pack_box(const JobRequest& request, JobMonitor& monitor);

/// Unpacks request.archive_fd into request.directory, which is empty. When it succeeds the files there are those of the format,
/// are durable, and all but the two records are read-only; a layer has nothing in its header that would lead QEMU to another
/// file.
Result<void> unpack_box(const JobRequest& request, JobMonitor& monitor);

}  // namespace boxlite::image

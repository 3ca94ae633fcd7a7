// A directory of the host as the tar of a layer.
//
// Everything is opened below the directory's descriptor, name by name, without following a symbolic link: what a link points to
// is never looked at, the link itself is taken. Other file systems mounted below it are not entered (/proc, /sys, volumes), and
// neither is boxlite's home. Sockets are left out.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "image/job_monitor.h"
#include "image/spooled_archive.h"

namespace boxlite::image {

/// Writes it into `job_directory` under its digest. Files of the caller, when he is not root, are root's in the tar: he is root
/// in his box. `limit`: bytes of contents.
Result<SpooledFile> tar_directory(const std::string& path, const std::string& home, const std::string& job_directory,
                                  std::uint64_t limit, JobMonitor& monitor);

}  // namespace boxlite::image

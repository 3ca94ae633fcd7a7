// boxlite login and logout: credentials that a registry accepted, kept in <home>/auth.json (0600, docker's format).
#pragma once

#include "base/result.h"
#include "image/image_job.h"
#include "image/job_monitor.h"

namespace boxlite::image {

/// Asks the registry whether it accepts the request's username and password, and keeps them then. kPermissionDenied: it does not.
Result<void> run_login(const JobRequest& request, JobMonitor& monitor);

/// Forgets them. kNotFound: there are none.
Result<void> run_logout(const JobRequest& request);

/// The file of a home.
std::string auth_file(const std::string& home);

}  // namespace boxlite::image

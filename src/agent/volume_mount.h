// A volume in the container: a 9P mount whose transport is a socket (volume_pipe.h). Runs in the container's first process.
#pragma once

#include <string>

#include "agent/options.h"
#include "base/result.h"

namespace boxlite::agent {

/// Mounts it at its path below `root`. `owner`: "UID:GID", whom the files of an ordinary user's volume are shown to belong to.
/// What was mounted on kScratch is covered afterwards.
Result<void> mount_volume(int root, const VolumeMount& volume, const std::string& owner);

}  // namespace boxlite::agent

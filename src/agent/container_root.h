// The container's file system view: docker's standard mounts on the image's root. Runs in the container's first process, in its
// new namespaces, before anything of the image runs: nobody can race with it, but every path of the image is hostile (in_root.h),
// and so each mount is made detached and attached to a descriptor (mount_api.h).
#pragma once

#include <string>

#include "agent/options.h"
#include "base/result.h"

namespace boxlite::agent {

/// Builds the mounts below kRootMount and makes it "/". `command`: the main one, whose working directory is made while the
/// root can still be written. `pty_mount`: a
/// detached devpts. `console`: the slave that becomes /dev/console, -1 for none.
Result<void> enter_container_root(const ContainerOptions& options, const Command& command, int pty_mount, int console);

}  // namespace boxlite::agent

// The container's file system view: docker's standard mounts on the image's root. Runs in the container's first process, in its
// new namespaces, before anything of the image runs: nobody can race with it, but every path of the image is hostile (in_root.h),
// and so each mount is made detached and attached to a descriptor (mount_api.h).
#pragma once

#include <string>

#include "agent/options.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::agent {

/// A devpts for a container, detached.
Result<UniqueFd> new_terminals();

/// Builds those mounts below kRootMount that are the same for every box. `pty_mount`: a detached devpts.
Result<void> build_container_root(bool privileged, int pty_mount);

/// The box's own mounts and files; then makes kRootMount "/". `command`: the main one, whose working directory is made while the
/// root can still be written. `console`: the slave that becomes /dev/console, -1 for none.
Result<void> enter_container_root(const ContainerOptions& options, const Command& command, int console);

}  // namespace boxlite::agent

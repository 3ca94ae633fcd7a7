// The end of a shim that was not asked: SIGKILL by a verified pidfd, then the certainty that nothing of the box runs any more.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/paths.h"

namespace boxlite {

/// Kills whatever shim holds the lease, and returns when the lease is free and no process of the VM lives. kUnavailable after ten
/// seconds of waiting for either. A box that does not run is no error.
Result<void> kill_shim(const HomePaths& paths, const std::string& id);

/// Waits until no process of the VM lives; at most ten seconds.
Result<void> wait_vm_gone(const HomePaths& paths, const std::string& id);

}  // namespace boxlite

// The end of a shim that was not asked: SIGKILL by a verified pidfd, then the certainty that nothing of the box runs any more.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/paths.h"

namespace boxlite {

/// Kills whatever shim holds the lease, and returns when the lease is free and no process of the VM lives, as wait_vm_gone().
/// kUnavailable when the shim has not ended ten seconds after the kill. A box that does not run is no error.
Result<void> kill_shim(const HomePaths& paths, const std::string& id);

/// Waits until no process of the VM lives. Those that do not end by themselves within three seconds of their shim's end, because
/// somebody has stopped them, are killed; kUnavailable when they live for ten seconds more. Only for a box without a shim.
Result<void> wait_vm_gone(const HomePaths& paths, const std::string& id);

}  // namespace boxlite

// The init of a box that asked for one: PID 1 of the container's pid namespace, with the command as its child. As tini does, it
// passes every signal on to the command, reaps what the command leaves behind, and ends as the command ends.
//
// It is the agent's own program, which the container can neither write nor, since it cannot be traced, look into; it has the
// command's user, capabilities and limits.
#pragma once

#include "base/result.h"

namespace boxlite::agent {

/// Called by the process that is about to execute the command. Returns in the child, which is in a process group of its own, in
/// the foreground of the terminal if there is one. In the caller, now the init, it never returns.
Result<void> split_off_init(bool tty);

}  // namespace boxlite::agent

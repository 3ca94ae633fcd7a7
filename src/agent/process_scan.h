// Signals to many processes of the VM at once, found by /proc: pids never leave this file.
#pragma once

#include "base/result.h"

namespace boxlite::agent {

/// To every process of the container: all of the VM but the agent and the kernel's threads.
Result<void> signal_everything(int signal);

}  // namespace boxlite::agent

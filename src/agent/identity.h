// Who a box is, where that is written in a container that runs already: after a restore its memory still says who it was.
#pragma once

#include <sys/types.h>

#include "agent/options.h"
#include "base/result.h"

namespace boxlite::agent {

/// Changes whenever a machine goes on from a checkpoint: 32 random hex digits and a newline. A program that must not hand out
/// twice what it has drawn, or that holds connections, watches it with inotify.
inline constexpr const char* kGenerationName = "boxlite-generation";  // in /dev

/// In the container whose first process is `main`: the generation file; host name, /etc/hosts, /etc/hostname and /etc/resolv.conf
/// where what boxlite had written there has changed, next to what the box has written itself; of `another_box` /etc/machine-id,
/// if the image has one. Its processes are frozen. All of it is tried, and the first failure returned.
Result<void> take_identity(pid_t main, const ContainerOptions& before, const ContainerOptions& now, bool another_box);

}  // namespace boxlite::agent

// Who a box is, where that is written in a container that runs already: after a restore its memory still says who it was.
#pragma once

#include <sys/types.h>

#include "agent/options.h"
#include "base/result.h"

namespace boxlite::agent {

/// Changes whenever a machine goes on from a checkpoint: 32 random hex digits and a newline. A program that must not hand out
/// twice what it has drawn, or that holds connections, watches it with inotify.
inline constexpr const char* kGenerationName = "boxlite-generation";  // in /dev

/// In the container whose first process is `main`: host name, /etc/hosts, /etc/hostname, /etc/resolv.conf and the generation
/// file. `another_box`: /etc/machine-id too, if the image has one. Its processes are frozen.
Result<void> take_identity(pid_t main, const ContainerOptions& options, bool another_box);

}  // namespace boxlite::agent

// Which device nodes an unprivileged container may open: docker's list, enforced by the kernel (a BPF program on the cgroup),
// since docker's default capabilities let root in the container make any node with mknod(2).
#pragma once

#include "base/result.h"

namespace boxlite::agent {

/// Attaches the policy to the cgroup directory. It holds for every process below it from then on.
Result<void> restrict_devices(int cgroup);

}  // namespace boxlite::agent

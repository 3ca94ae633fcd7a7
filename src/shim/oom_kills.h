// How often the host's kernel has ended a process for lack of memory, on the whole host and in all cgroups, since it booted. It
// does not say whom; a box's cgroup does (vmm/vm_cgroup.h).
#pragma once

#include <cstdint>

namespace boxlite::shim {

/// 0 where the kernel does not tell.
std::uint64_t oom_kills();

}  // namespace boxlite::shim

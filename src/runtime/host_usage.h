// What a running box takes of the host: the sum over its processes (the shim, the jail around the VM, QEMU).
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace boxlite {

struct HostUsage {
  std::uint64_t time_ns = 0;       // CLOCK_MONOTONIC when it was read
  std::uint64_t cpu_ns = 0;        // of the processes that live, since they began
  std::uint64_t memory_bytes = 0;  // private: anonymous and shared-memory pages, no files
};

/// A process and all below it, as /proc tells anybody; one that ends meanwhile counts as nothing.
HostUsage host_usage(pid_t root);

}  // namespace boxlite

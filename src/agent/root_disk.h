// The box's root disk: /dev/vda, ext4.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace boxlite::agent {

/// Mounts it on kRootMount, and grows the file system to the disk's size (at most `disk_bytes`; 0: leaves it as it is).
Result<void> mount_root_disk(std::uint64_t disk_bytes);

/// Makes the file system read-only, which writes everything and marks it clean; whoever still has it mounted. Waits up to some
/// seconds for the last writer to be gone.
Result<void> seal_root_disk();

}  // namespace boxlite::agent

// The jail's own filter of system calls (seccomp(2)), beside QEMU's: bubblewrap puts it in force before QEMU begins, so it holds
// whatever QEMU has been brought to do since.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::vmm {

/// The program for bwrap's --seccomp, in a file without a name.
Result<UniqueFd> vm_filter();

}  // namespace boxlite::vmm

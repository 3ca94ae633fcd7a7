// The jail's own filter of system calls (seccomp(2)), beside QEMU's: bubblewrap puts it in force before QEMU begins, so it holds
// whatever QEMU has been brought to do since.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::vmm {

/// The program for bwrap's --seccomp, in a file without a name.
Result<UniqueFd> vm_filter();

/// What a QEMU of an image has in the place of the filter that QEMU gives itself (-sandbox), likewise.
Result<UniqueFd> sandbox_filter();

}  // namespace boxlite::vmm

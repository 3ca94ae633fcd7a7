// What a VM has written to its memory: the pages of a process that are its own, and no file's.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "base/result.h"

namespace boxlite {

/// Copies the private pages of `bytes` at `address` in the process, which stands still, to their places in `file`. What is not
/// copied is as it is in the file that is mapped there, or zero. Zeros become holes. kPermissionDenied: this process may not read
/// that one.
Result<void> copy_private_pages(pid_t pid, std::uint64_t address, std::uint64_t bytes, int file);

/// Copies what is not a hole, after the whole file has been tried to be shared (reflink). `to` is empty.
Result<void> copy_sparse(int from, int to, std::uint64_t bytes);

}  // namespace boxlite

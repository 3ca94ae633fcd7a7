// Who holds a lock file, as /proc tells: a lock of an open file description (fcntl(2), F_OFD_SETLK) belongs to no process, and
// F_OFD_GETLK names none.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite {

/// pidfds of the other processes that have the lock of `path` through a description they inherited or opened; of those whose
/// descriptors this user may see.
Result<std::vector<UniqueFd>> lock_holders(const std::string& path);

}  // namespace boxlite

// Landlock: rules of a process for itself on what it may do with files, kept by the kernel for good (landlock(7)).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace boxlite {

/// What may be done below a directory, or with a file.
struct LandlockRule {
  enum Access {
    kRead,             // files
    kChange,           // files: read, write, empty, create, rename, remove; directories: list
    kRemove,           // files
    kRemoveDirectory,  // empty ones
    kRewrite,          // one file: read, write, empty
  };
  std::string path;
  Access access = kRead;
};

/// The version of Landlock that this kernel has; 0: none, or it is switched off.
int landlock_version();

/// From here on this process, and all that it starts, can do nothing with files but what the rules say, and, where the kernel
/// knows how to forbid it, open or bind no TCP port and no abstract socket of another. Descriptors that are open already
/// stay as they are. A rule whose path is not there is left out. Needs no_new_privs. Does nothing where landlock_version() is 0.
Result<void> enter_landlock(const std::vector<LandlockRule>& rules);

}  // namespace boxlite

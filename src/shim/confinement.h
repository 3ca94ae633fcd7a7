// What a shim may still ask of the host's kernel once its box's processes run. Theory: confinement.cc.
#pragma once

#include <string>
#include <vector>

#include "base/landlock.h"
#include "base/result.h"
#include "runtime/box_config.h"
#include "runtime/paths.h"

namespace boxlite::shim {

/// The files that the shim of a box goes on to use. `cgroup`: the directory of the box's; "": it has none.
std::vector<LandlockRule> files_in_use(const HomePaths& paths, const std::string& box_id, const std::vector<Mount>& mounts,
                                       const std::string& cgroup);

/// For the rest of the process's life: no new privileges, no capability but that to end its children, Landlock with `files`, and
/// a filter of system calls. A refused call fails; it ends nothing.
Result<void> confine(const std::vector<LandlockRule>& files);

}  // namespace boxlite::shim

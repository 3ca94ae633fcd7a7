// Which cgroup of the host is a box's (vmm/vm_cgroup.h), and the one that a killed shim has left. The shim removes it; a shim
// that was killed has said in its state record where it is, so that it is found from any session of its user.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "runtime/paths.h"

namespace boxlite {

/// PLACE/boxlite/NAME of a box. The name has the home in it, by its file system and inode: a copy of a home has boxes of the same
/// ids, and a home may be moved.
Result<std::string> box_cgroup(const HomePaths& paths, const std::string& id, const std::string& place);

/// That of the box's last start, if it is there.
std::optional<std::string> left_cgroup(const HomePaths& paths, const std::string& id);

/// Removes that one. Only for a box without a shim whose VM has ended: what should be in there all the same is killed.
Result<void> remove_left_cgroup(const HomePaths& paths, const std::string& id);

}  // namespace boxlite

// Mounts by descriptor: made detached, then attached to a directory that was opened, not named. No path of an image is ever
// given to mount(2).
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::agent {

using MountOption = std::pair<const char*, const char*>;

/// A new mount of a file system without a device, attached nowhere yet. `attributes`: MOUNT_ATTR_*. The descriptor is a
/// directory.
Result<UniqueFd> new_mount(const char* type, std::span<const MountOption> options, unsigned attributes);
Result<UniqueFd> new_mount(const char* type, std::initializer_list<MountOption> options, unsigned attributes);

/// A copy of the mount that `path` (relative to `directory`, "" itself) is on, rooted there; what bind mounts are made of.
Result<UniqueFd> clone_mount(int directory, const char* path, unsigned attributes);

/// Attaches a detached mount on top of `target` (O_PATH).
Result<void> attach_mount(int mount, int target);

/// attach_mount() on a directory of our own, by name.
Result<void> attach_mount(int mount, const char* target);

}  // namespace boxlite::agent

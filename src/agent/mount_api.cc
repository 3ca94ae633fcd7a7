#include "agent/mount_api.h"

#include <fcntl.h>
#include <sys/mount.h>

namespace boxlite::agent {

Result<UniqueFd> new_mount(const char* type, std::initializer_list<MountOption> options, unsigned attributes) {
  return new_mount(type, std::span(options.begin(), options.size()), attributes);
}

Result<UniqueFd> new_mount(const char* type, std::span<const MountOption> options, unsigned attributes) {
  const UniqueFd context(::fsopen(type, FSOPEN_CLOEXEC));
  if (!context) return fail_errno("fsopen {}", type);
  for (const auto& [key, value] : options) {
    const auto command = value == nullptr ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
    if (::fsconfig(context.get(), command, key, value, 0) < 0) return fail_errno("{} option {}", type, key);
  }
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) return fail_errno("create {}", type);
  UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, attributes));
  if (!mount) return fail_errno("fsmount {}", type);
  return mount;
}

Result<UniqueFd> clone_mount(int directory, const char* path, unsigned attributes) {
  UniqueFd mount(::open_tree(directory, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
  if (!mount) return fail_errno("open_tree {}", path);
  if (attributes != 0) {
    mount_attr change = {};
    change.attr_set = attributes;
    if (::mount_setattr(mount.get(), "", AT_EMPTY_PATH, &change, sizeof change) < 0) return fail_errno("mount_setattr {}", path);
  }
  return mount;
}

Result<void> attach_mount(int mount, int target) {
  if (::move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) return fail_errno("move_mount");
  return {};
}

Result<void> attach_mount(int mount, const char* target) {
  if (::move_mount(mount, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0) return fail_errno("mount {}", target);
  return {};
}

}  // namespace boxlite::agent

#include "runtime/box_cgroup.h"

#include <unistd.h>

#include <chrono>

#include "base/sys.h"
#include "runtime/observe.h"
#include "vmm/vm_cgroup.h"

namespace boxlite {
namespace {

// bubblewrap ends after what it watches, and holds no lock.
constexpr auto kCgroupOwnEndPatience = std::chrono::seconds(3);
constexpr auto kCgroupPatience = std::chrono::seconds(10);

}  // namespace

Result<std::string> box_cgroup(const HomePaths& paths, const std::string& id, const std::string& place) {
  TRY_ASSIGN(const struct stat home, sys::stat(paths.home()));
  return fmt::format("{}/boxlite/{}-{:x}-{:x}", place, id, home.st_dev, home.st_ino);
}

std::optional<std::string> left_cgroup(const HomePaths& paths, const std::string& id) {
  const auto state = read_state(paths.state(id));
  if (!state || state->cgroup_place.empty()) return std::nullopt;
  auto path = box_cgroup(paths, id, state->cgroup_place);
  if (!path || ::access(path->c_str(), F_OK) < 0) return std::nullopt;
  return std::move(*path);
}

Result<void> remove_left_cgroup(const HomePaths& paths, const std::string& id) {
  const auto path = left_cgroup(paths, id);
  if (!path) return {};
  auto removed = vmm::remove_cgroup(*path, kCgroupOwnEndPatience);
  if (!removed && removed.error().code() == ErrorCode::kUnavailable && vmm::kill_cgroup(*path))
    removed = vmm::remove_cgroup(*path, kCgroupPatience);
  return removed;
}

}  // namespace boxlite

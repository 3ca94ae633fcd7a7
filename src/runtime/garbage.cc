#include "runtime/garbage.h"

#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "base/ofd_lock.h"
#include "base/process.h"
#include "base/sys.h"
#include "image/job_directory.h"
#include "runtime/box_cgroup.h"
#include "runtime/capture.h"
#include "runtime/disk_usage.h"
#include "runtime/image_removal.h"
#include "runtime/lease.h"
#include "runtime/removal.h"
#include "runtime/templates.h"

namespace boxlite {
namespace {

constexpr std::string_view kSuffix = ".tmp";
constexpr std::size_t kRandomDigits = 12;
constexpr std::time_t kLongAgo = 600;  // seconds

// In a directory; none when it cannot be read, or is gone.
std::vector<std::string> temporary_files(const std::string& directory) {
  std::vector<std::string> found;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (is_temporary_name(it->path().filename().string())) found.push_back(it->path().string());
  }
  return found;
}

bool is_old(const std::string& path) {
  const auto st = sys::stat(path);
  return st && std::time(nullptr) - st->st_mtime > kLongAgo;
}

bool is_at_rest(const HomePaths& paths, const std::string& id) {
  const auto worked_on = OfdLock::held(paths.op_lock(id));
  const auto alive = OfdLock::held(paths.lease(id));
  return worked_on && alive && !*worked_on && !*alive;
}

std::vector<std::string> boxes_with_directories(const HomePaths& paths) {
  std::vector<std::string> ids;
  std::error_code error;
  for (std::filesystem::directory_iterator it(paths.boxes(), error), end; !error && it != end; it.increment(error)) {
    if (std::string id = it->path().filename().string(); is_box_id(id)) ids.push_back(std::move(id));
  }
  return ids;
}

// With both locks of the box nobody begins a file there.
Result<void> remove_temporary_files_of(const HomePaths& paths, const std::string& id) {
  TRY_ASSIGN(std::optional<OpLock> op, OpLock::try_acquire(paths, id));
  if (!op) return {};
  TRY_ASSIGN(const bool free, op->take_lease());
  if (!free) return {};
  for (const std::string& path : temporary_files(paths.box(id))) TRY(sys::unlink(path));
  return {};
}

// All that there is to remove beside the files of images, as paths.
Result<std::vector<std::string>> leftovers(const Context& context) {
  const HomePaths& paths = context.paths;
  TRY_ASSIGN(std::vector<std::string> found, image::JobDirectory::abandoned(paths.home()));
  for (std::string& path : abandoned_files(paths)) found.push_back(std::move(path));
  TRY_ASSIGN(const std::set<std::string> ids, unfinished_boxes(paths, context.database));
  for (const std::string& id : ids) found.insert(found.end(), {paths.box(id), paths.new_box(id)});
  std::error_code error;
  for (std::filesystem::directory_iterator it(paths.trash(), error), end; !error && it != end; it.increment(error))
    found.push_back(it->path().string());
  return found;
}

}  // namespace

bool is_temporary_name(std::string_view name) {
  if (!name.ends_with(kSuffix)) return false;
  name.remove_suffix(kSuffix.size());
  const std::size_t dot = name.rfind('.');
  return dot != std::string_view::npos && dot > 0 && name.size() - dot - 1 == kRandomDigits &&
         name.find_first_not_of("0123456789abcdef", dot + 1) == std::string_view::npos;
}

std::vector<std::string> abandoned_files(const HomePaths& paths) {
  std::vector<std::string> found;
  for (const std::string& directory : {paths.home(), paths.memo()}) {
    for (std::string& path : temporary_files(directory)) {
      if (is_old(path)) found.push_back(std::move(path));
    }
  }
  for (const std::string& id : boxes_with_directories(paths)) {
    if (!checkpoints_are_locked(paths.box(id))) {
      for (std::string& path : capture_leftovers(paths.box(id))) found.push_back(std::move(path));
    }
    std::vector<std::string> files = temporary_files(paths.box(id));
    if (files.empty() || !is_at_rest(paths, id)) continue;
    found.insert(found.end(), files.begin(), files.end());
  }
  return found;
}

Result<void> remove_left_cgroups(const HomePaths& paths) {
  for (const std::string& id : boxes_with_directories(paths)) {
    if (!left_cgroup(paths, id)) continue;
    TRY_ASSIGN(std::optional<OpLock> op, OpLock::try_acquire(paths, id));
    if (!op) continue;
    TRY_ASSIGN(const bool free, op->take_lease());
    TRY_ASSIGN(const bool vm_alive, OfdLock::held(paths.vm_lock(id)));
    if (free && !vm_alive) TRY(remove_left_cgroup(paths, id));
  }
  return {};
}

Result<std::uint64_t> collect_all_garbage(Context& context) {
  const HomePaths& paths = context.paths;
  if (!context.home_exists) return 0;
  TRY_ASSIGN(const std::vector<std::string> found, leftovers(context));
  std::vector<std::pair<std::string, std::uint64_t>> sizes;
  for (const std::string& path : found) sizes.emplace_back(path, disk_usage(path));

  TRY(sweep_home(paths, context.database));
  TRY(image::JobDirectory::sweep(paths.home()));
  TRY(remove_left_cgroups(paths));
  for (const std::string& id : boxes_with_directories(paths)) {
    const auto lock = try_lock_checkpoints(paths.box(id));
    if (lock && *lock) TRY(remove_capture_leftovers(paths.box(id)));  // else somebody works there, or it is gone
  }
  for (const std::string& path : abandoned_files(paths)) {
    const std::string parent = path.substr(0, path.rfind('/'));
    if (parent == paths.home() || parent == paths.memo()) {
      TRY(sys::unlink(path));
    } else {
      TRY(remove_temporary_files_of(paths, parent.substr(parent.rfind('/') + 1)));
    }
  }
  std::uint64_t reclaimed = 0;
  for (const auto& [path, bytes] : sizes) {
    struct stat st = {};
    if (::lstat(path.c_str(), &st) < 0) reclaimed += bytes;  // else somebody works on it
  }
  TRY_ASSIGN(const std::string boot, boot_id());
  reclaimed += collect_templates(paths, boot);
  TRY_ASSIGN(const std::uint64_t of_images, collect_unreferenced(context));
  return reclaimed + of_images;
}

}  // namespace boxlite

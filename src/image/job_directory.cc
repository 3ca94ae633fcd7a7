#include "image/job_directory.h"

#include <dirent.h>

#include <memory>
#include <set>
#include <string_view>

#include "base/sys.h"

namespace boxlite::image {
namespace {

constexpr std::string_view kPrefix = "image-";
constexpr std::string_view kLockSuffix = ".lock";

Result<std::set<std::string>> job_names(const std::string& tmp) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(tmp.c_str()), ::closedir);
  if (!stream) return fail_errno("opendir {}", tmp);
  std::set<std::string> names;
  while (const dirent* entry = ::readdir(stream.get())) {
    std::string_view name = entry->d_name;
    if (!name.starts_with(kPrefix)) continue;
    if (name.ends_with(kLockSuffix)) name.remove_suffix(kLockSuffix.size());
    names.emplace(name);
  }
  return names;
}

// The lock file goes last and while it is locked, so whoever finds a directory also finds what guards it.
void sweep_one(const std::string& tmp, const std::string& name) {
  const std::string directory = fmt::format("{}/{}", tmp, name);
  const std::string lock_path = directory + std::string(kLockSuffix);
  auto lock = OfdLock::try_acquire(lock_path);
  if (!lock || !*lock) return;
  if (remove_tree(directory)) (void)sys::unlink(lock_path);
}

}  // namespace

Result<std::vector<std::string>> JobDirectory::abandoned(const std::string& home) {
  const std::string tmp = home + "/tmp";
  TRY_ASSIGN(const std::set<std::string> names, job_names(tmp));
  std::vector<std::string> paths;
  for (const std::string& name : names) {
    std::string path = fmt::format("{}/{}", tmp, name);
    TRY_ASSIGN(const bool alive, OfdLock::held(path + std::string(kLockSuffix)));
    if (!alive) paths.push_back(std::move(path));
  }
  return paths;
}

Result<void> JobDirectory::sweep(const std::string& home) {
  const std::string tmp = home + "/tmp";
  TRY_ASSIGN(const std::set<std::string> names, job_names(tmp));
  for (const std::string& name : names) sweep_one(tmp, name);
  return {};
}

Result<JobDirectory> JobDirectory::create(const std::string& home) {
  const std::string tmp = home + "/tmp";
  TRY(ensure_directory(tmp, 0700));
  TRY(sweep(home));
  for (;;) {
    const std::string path = fmt::format("{}/{}{}", tmp, kPrefix, sys::random_hex(6));
    TRY_ASSIGN(std::optional<OfdLock> lock, OfdLock::try_acquire(path + std::string(kLockSuffix)));
    // A sweeping job may have locked and removed the file between its creation and our lock.
    if (!lock || !lock->still_linked()) continue;
    JobDirectory job(path, std::move(*lock));
    TRY(sys::mkdir(path, 0700));
    return job;
  }
}

JobDirectory::~JobDirectory() {
  if (path_.empty() || !lock_) return;
  if (remove_tree(path_)) (void)sys::unlink(path_ + std::string(kLockSuffix));
}

}  // namespace boxlite::image

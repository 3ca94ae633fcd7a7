#include "runtime/lock_holders.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <string_view>

#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"

namespace boxlite {
namespace {

constexpr std::size_t kMaxDescription = 64 * 1024;

// The entries of a directory that are numbers; none when it cannot be read.
std::vector<std::string> numbers_in(const std::string& path) {
  std::vector<std::string> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (!directory) return found;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; })) found.emplace_back(name);
  }
  return found;
}

bool has_lock(const std::string& process, const struct stat& file) {
  for (const std::string& descriptor : numbers_in(process + "/fd")) {
    struct stat seen = {};
    if (::stat(fmt::format("{}/fd/{}", process, descriptor).c_str(), &seen) < 0) continue;
    if (seen.st_dev != file.st_dev || seen.st_ino != file.st_ino) continue;
    const auto description = read_file(fmt::format("{}/fdinfo/{}", process, descriptor), kMaxDescription);
    if (description && description->find("\nlock:") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

Result<std::vector<UniqueFd>> lock_holders(const std::string& path) {
  TRY_ASSIGN(const struct stat file, sys::stat(path));
  std::vector<UniqueFd> holders;
  for (const std::string& name : numbers_in("/proc")) {
    const std::string process = "/proc/" + name;
    pid_t pid = 0;
    std::from_chars(name.data(), name.data() + name.size(), pid);
    if (pid == ::getpid() || !has_lock(process, file)) continue;
    const auto started = process_start_time(pid);
    if (!started) continue;
    auto holder = open_process(pid, *started);
    // Again, now that the pid cannot become another's unseen.
    if (holder && has_lock(process, file)) holders.push_back(std::move(*holder));
  }
  return holders;
}

}  // namespace boxlite

#include "runtime/process_tree.h"

#include <dirent.h>

#include <algorithm>
#include <memory>
#include <set>
#include <sstream>
#include <string>

#include "base/file.h"
#include "base/sys.h"

namespace boxlite {
namespace {

constexpr std::size_t kMaxProcFile = 64U << 10U;

struct NameAndState {
  std::string name;
  char state = '\0';
};

// proc(5), fields 2 and 3 of stat: the name, in parentheses, may hold anything.
NameAndState name_and_state(pid_t pid) {
  const auto stat = read_file(fmt::format("/proc/{}/stat", pid), kMaxProcFile);
  if (!stat) return {};
  const std::size_t open = stat->find('(');
  const std::size_t close = stat->rfind(')');
  if (open == std::string::npos || close == std::string::npos || close + 2 >= stat->size()) return {};
  return {.name = stat->substr(open + 1, close - open - 1), .state = (*stat)[close + 2]};
}

bool is_stop_state(char state) { return state == 'T' || state == 't'; }

std::vector<pid_t> children(pid_t pid) {
  std::vector<pid_t> result;
  const std::string tasks = fmt::format("/proc/{}/task", pid);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(tasks.c_str()), ::closedir);
  if (!directory) return result;
  while (const dirent* entry = ::readdir(directory.get())) {
    const auto list = read_file(fmt::format("{}/{}/children", tasks, entry->d_name), kMaxProcFile);
    if (!list) continue;
    std::istringstream numbers(*list);
    for (pid_t child = 0; numbers >> child;) result.push_back(child);
  }
  return result;
}

}  // namespace

std::vector<pid_t> process_tree(pid_t root) {
  std::set<pid_t> seen;  // a tree that changes while it is walked must not go round in circles
  std::vector<pid_t> tree;
  std::vector<pid_t> left = {root};
  while (!left.empty()) {
    const pid_t pid = left.back();
    left.pop_back();
    if (!seen.insert(pid).second) continue;
    tree.push_back(pid);
    for (const pid_t child : children(pid)) left.push_back(child);
  }
  return tree;
}

std::string process_name(pid_t pid) { return name_and_state(pid).name; }

std::optional<std::string> mapped_program(pid_t pid, std::string_view name) {
  constexpr std::size_t kMaxMaps = 4U << 20U;
  const auto maps = read_file(fmt::format("/proc/{}/maps", pid), kMaxMaps);
  if (!maps) return std::nullopt;
  std::istringstream lines(*maps);
  for (std::string line; std::getline(lines, line);) {
    // proc(5). The device is not looked at: on btrfs and overlayfs it is not the one that stat(2) tells.
    std::istringstream words(line);
    std::string range, rights, offset, device, path;
    std::uint64_t inode = 0;
    words >> range >> rights >> offset >> device >> inode;
    std::getline(words >> std::ws, path);
    if (!std::string_view(path).substr(path.rfind('/') + 1).starts_with(name)) continue;
    const auto file = sys::stat(path);
    if (file && file->st_ino == inode) return path;
    return std::nullopt;
  }
  return std::nullopt;
}

bool is_at_work(pid_t pid) {
  const char state = name_and_state(pid).state;
  return state == 'R' || state == 'D';
}

bool is_stopped(pid_t pid) { return is_stop_state(name_and_state(pid).state); }

std::optional<pid_t> find_stopped(const std::vector<pid_t>& tree, std::string_view name) {
  const auto found = std::ranges::find_if(tree, [name](pid_t pid) {
    const NameAndState seen = name_and_state(pid);
    return is_stop_state(seen.state) && seen.name.starts_with(name);
  });
  return found == tree.end() ? std::nullopt : std::optional(*found);
}

}  // namespace boxlite

// Where the place is looked for. A process may be moved by somebody who may write to cgroup.procs of the lowest cgroup that is
// above both, where it is and where it is to go (cgroup-v2.rst, "Delegation Containment"). Below an ancestor of our own cgroup
// that is that ancestor or one below it, so an ancestor whose cgroup.procs we may write to will do. The highest, as the processes
// in it then are the fewest: where systemd runs, root's is the root cgroup, and an ordinary user's user@UID.service. A cgroup's
// subtree_control belongs to whoever made it: one that does not hand memory and pids down is passed over.
#include "vmm/vm_cgroup.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <sstream>

#include "base/file.h"
#include "base/sys.h"

namespace boxlite::vmm {
namespace {

constexpr std::size_t kMaxFile = 1024 * 1024;
// Processes that have been killed are gone in milliseconds, unless they wait for a disk.
constexpr auto kEndPatience = std::chrono::seconds(5);

Result<void> write_control(const std::string& path, std::string_view text) {
  TRY_ASSIGN(const UniqueFd file, sys::open(path, O_WRONLY));
  if (auto written = sys::write_all(file.get(), text); !written) return std::unexpected(written.error().context(path));
  return {};
}

std::string parent_cgroup(const std::string& path) { return path.substr(0, path.rfind('/')); }

bool has_memory_and_pids(const std::string& file) {
  std::istringstream words(read_file(file, kMaxFile).value_or(""));
  bool memory = false;
  bool pids = false;
  for (std::string word; words >> word;) {
    memory |= word == "memory";
    pids |= word == "pids";
  }
  return memory && pids;
}

bool may_use(const std::string& cgroup) {
  return ::access(cgroup.c_str(), W_OK | X_OK) == 0 && ::access((cgroup + "/cgroup.procs").c_str(), W_OK) == 0;
}

// A mount of the hierarchy: `cgroup` of it is seen at `directory`. proc(5): … root mount-point options [optional]… - type …
struct Hierarchy {
  std::string cgroup;
  std::string directory;
};

Result<Hierarchy> find_hierarchy(const std::string& root) {
  TRY_ASSIGN(const std::string table, read_file(root + "/proc/self/mountinfo", kMaxFile));
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string skipped;
    Hierarchy found;
    fields >> skipped >> skipped >> skipped >> found.cgroup >> found.directory;
    while (fields >> skipped && skipped != "-") continue;
    if (fields >> skipped && skipped == "cgroup2") return found;
  }
  return fail(ErrorCode::kUnsupported, "cgroup v2 is not mounted on this host");
}

Result<std::string> own_cgroup(const std::string& root) {
  TRY_ASSIGN(const std::string table, read_file(root + "/proc/self/cgroup", kMaxFile));
  std::istringstream lines(table);
  constexpr std::string_view kUnified = "0::";
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kUnified)) return line.substr(kUnified.size());
  }
  return fail(ErrorCode::kUnsupported, "this process is in no cgroup of version 2");
}

// The number behind `key`, which begins a line; 0 when there is none.
std::uint64_t value_of(std::string_view text, const std::string& key) {
  std::size_t at = text.starts_with(key) ? 0 : text.find("\n" + key);
  if (at == std::string_view::npos) return 0;
  at = text.find(key, at) + key.size();
  std::uint64_t value = 0;
  std::from_chars(text.data() + at, text.data() + text.size(), value);
  return value;
}

}  // namespace

Result<std::string> find_cgroup_place(const std::string& root) {
  TRY_ASSIGN(const Hierarchy hierarchy, find_hierarchy(root));
  TRY_ASSIGN(std::string cgroup, own_cgroup(root));
  const std::string top = hierarchy.cgroup == "/" ? "" : hierarchy.cgroup;
  if (cgroup != top && !cgroup.starts_with(top + "/"))
    return fail(ErrorCode::kUnsupported, "the cgroup of this process, {}, is not below {}", cgroup, hierarchy.directory);
  if (!has_memory_and_pids(root + hierarchy.directory + "/cgroup.controllers"))
    return fail(ErrorCode::kUnsupported,
                "cgroup v2 has no memory and pids controllers at {}: they are in cgroup v1, or switched off",
                hierarchy.directory);
  cgroup.erase(0, top.size());
  while (cgroup.ends_with('/')) cgroup.pop_back();

  std::string place;
  for (std::string below = cgroup;; below = parent_cgroup(below)) {
    const std::string directory = hierarchy.directory + below;
    if (may_use(root + directory) && has_memory_and_pids(root + directory + "/cgroup.subtree_control")) place = directory;
    if (below.empty()) break;
  }
  if (!place.empty()) return place;
  return fail(ErrorCode::kUnsupported, "no cgroup from {}{} upwards that hands memory and pids down is delegated to this user{}",
              hierarchy.directory, cgroup,
              ::geteuid() == 0 ? "" : " (where systemd runs, one is to: systemd-run --user --scope boxlite ...)");
}

Result<void> remove_cgroup(const std::string& path, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  // By unlinkat(), which is the call that the shim's filter lets pass.
  const auto removed = [&path] { return ::unlinkat(AT_FDCWD, path.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT; };
  if (removed()) return {};
  if (errno != EBUSY) return fail_errno("remove the cgroup {}", path);
  const auto events = sys::open(path + "/cgroup.events", O_RDONLY);
  for (;;) {
    // The kernel tells of a change since it was read (cgroup-v2.rst, "Basic Operations"): what comes after the read is not
    // missed.
    char text[256];
    if (events) (void)::pread(events->get(), text, sizeof text, 0);
    if (removed()) return {};
    if (errno != EBUSY) return fail_errno("remove the cgroup {}", path);
    if (!events) return std::unexpected(events.error());
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return fail(ErrorCode::kUnavailable, "processes are left in the cgroup {}", path);
    TRY(sys::poll_one(events->get(), POLLPRI, left));
  }
}

Result<void> kill_cgroup(const std::string& path) { return write_control(path + "/cgroup.kill", "1"); }

Result<std::unique_ptr<VmCgroup>> VmCgroup::create(const std::string& path, const CgroupLimits& limits) {
  const std::string ours = parent_cgroup(path);
  if (::mkdir(ours.c_str(), 0755) < 0 && errno != EEXIST) return fail_errno("make the cgroup {}", ours);
  TRY(write_control(ours + "/cgroup.subtree_control", "+memory +pids"));
  TRY(remove_cgroup(path, std::chrono::milliseconds(0)));
  TRY(sys::mkdir(path, 0755));
  std::unique_ptr<VmCgroup> cgroup(new VmCgroup(path));
  TRY(write_control(path + "/memory.max", std::to_string(limits.memory_bytes)));
  TRY(write_control(path + "/memory.oom.group", "1"));
  TRY(write_control(path + "/pids.max", std::to_string(limits.processes)));
  return cgroup;
}

// What cannot be removed now is removed by the next start, removal or repair of the box.
VmCgroup::~VmCgroup() { (void)remove_cgroup(path_, kEndPatience); }

Result<UniqueFd> VmCgroup::open() const { return sys::open(path_, O_RDONLY | O_DIRECTORY); }

VmCgroup::OutOfMemory VmCgroup::out_of_memory() const {
  const std::string events = read_file(path_ + "/memory.events", kMaxFile).value_or("");
  return {.killed = value_of(events, "oom_kill ") > 0, .own_limit = value_of(events, "oom ") > 0};
}

}  // namespace boxlite::vmm

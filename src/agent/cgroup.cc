#include "agent/cgroup.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include <charconv>
#include <string>

#include "base/file.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

const std::string kRoot = "/sys/fs/cgroup";
const std::string kContainer = kRoot + "/c1";
const std::string kInit = kContainer + "/init";

Result<void> write_control(const std::string& path, std::string_view text) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_WRONLY));
  if (auto written = sys::write_all(fd.get(), text); !written) return std::unexpected(written.error().context(path));
  return {};
}

// "cpu memory\n" → "+cpu +memory"
Result<void> hand_down_controllers(const std::string& cgroup) {
  TRY_ASSIGN(const std::string available, read_file(cgroup + "/cgroup.controllers", 4096));
  std::string enable;
  bool begins = true;
  for (const char c : available) {
    if (c == ' ' || c == '\n') {
      begins = true;
      continue;
    }
    if (begins) enable += enable.empty() ? "+" : " +";
    begins = false;
    enable += c;
  }
  if (enable.empty()) return {};
  return write_control(cgroup + "/cgroup.subtree_control", enable);
}

}  // namespace

Result<void> mount_root_cgroup() {
  if (::mount("cgroup2", kRoot.c_str(), "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate") < 0) {
    return fail_errno("mount cgroup2 on {}", kRoot);
  }
  return hand_down_controllers(kRoot);
}

Result<void> create_container_cgroup() {
  TRY(sys::mkdir(kContainer, 0755));
  return sys::mkdir(kInit, 0755);
}

Result<UniqueFd> open_container_cgroup() { return sys::open(kContainer, O_RDONLY | O_DIRECTORY); }

Result<UniqueFd> open_init_cgroup() { return sys::open(kInit, O_RDONLY | O_DIRECTORY); }

Result<void> enter_container_cgroup() {
  if (::unshare(CLONE_NEWCGROUP) < 0) return fail_errno("unshare the cgroup namespace");
  TRY(write_control(kInit + "/cgroup.procs", "0"));
  return hand_down_controllers(kContainer);
}

Result<void> kill_container_cgroup() { return write_control(kContainer + "/cgroup.kill", "1"); }

std::uint64_t oom_kills() {
  const auto events = read_file(kContainer + "/memory.events", 4096);
  if (!events) return 0;
  constexpr std::string_view kKey = "oom_kill ";
  const std::size_t at = events->find(kKey);
  if (at == std::string::npos) return 0;
  std::uint64_t count = 0;
  std::from_chars(events->data() + at + kKey.size(), events->data() + events->size(), count);
  return count;
}

}  // namespace boxlite::agent

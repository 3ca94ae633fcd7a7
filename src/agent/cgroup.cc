#include "agent/cgroup.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <ctime>
#include <string>

#include "base/file.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

const std::string kRoot = "/sys/fs/cgroup";
const std::string kContainer = kRoot + "/c1";
const std::string kInit = kContainer + "/init";

constexpr std::size_t kMaxProcs = std::size_t{4} * 1024 * 1024;

std::string session_cgroup(const std::string& id) { return kInit + "/" + id; }

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

// "" when it cannot be read: then nothing is known.
std::string read_control(const char* name) { return read_file(kContainer + "/" + name, 64U << 10U).value_or(""); }

// The number behind the first `key`, which begins a line or a word; 0 when there is none.
std::uint64_t value_of(std::string_view text, std::string_view key) {
  std::size_t at = text.find(key);
  while (at != std::string_view::npos && at > 0 && text[at - 1] != '\n' && text[at - 1] != ' ') at = text.find(key, at + 1);
  if (at == std::string_view::npos) return 0;
  std::uint64_t value = 0;
  std::from_chars(text.data() + at + key.size(), text.data() + text.size(), value);
  return value;
}

std::uint64_t event_value(int events, std::string_view key) {
  std::array<char, 256> text;
  const ssize_t count = ::pread(events, text.data(), text.size(), 0);
  return count > 0 ? value_of({text.data(), static_cast<std::size_t>(count)}, key) : 0;
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

Result<void> remove_container_cgroup() {
  for (const std::string& path : {kInit, kContainer}) {
    if (::rmdir(path.c_str()) < 0) return fail_errno("rmdir {}", path);
  }
  return {};
}

Result<UniqueFd> open_container_cgroup() { return sys::open(kContainer, O_RDONLY | O_DIRECTORY); }

Result<UniqueFd> open_init_cgroup() { return sys::open(kInit, O_RDONLY | O_DIRECTORY); }

Result<UniqueFd> create_session_cgroup(const std::string& id) {
  const std::string path = session_cgroup(id);
  TRY(sys::mkdir(path, 0755));
  return sys::open(path, O_RDONLY | O_DIRECTORY);
}

Result<void> signal_session_cgroup(const std::string& id, int signal) {
  if (signal == SIGKILL) return write_control(session_cgroup(id) + "/cgroup.kill", "1");
  TRY_ASSIGN(const std::string pids, read_file(session_cgroup(id) + "/cgroup.procs", kMaxProcs));
  for (const char* at = pids.data(); at != pids.data() + pids.size();) {
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(at, pids.data() + pids.size(), pid);
    if (error == std::errc() && pid > 1) ::kill(pid, signal);
    at = std::find(end, pids.data() + pids.size(), '\n');
    if (at != pids.data() + pids.size()) ++at;
  }
  return {};
}

bool remove_session_cgroup(const std::string& id) { return ::rmdir(session_cgroup(id).c_str()) == 0 || errno == ENOENT; }

Result<void> enter_container_cgroup() {
  if (::unshare(CLONE_NEWCGROUP) < 0) return fail_errno("unshare the cgroup namespace");
  TRY(write_control(kInit + "/cgroup.procs", "0"));
  return hand_down_controllers(kContainer);
}

Result<void> kill_container_cgroup() { return write_control(kContainer + "/cgroup.kill", "1"); }

Result<void> freeze_container(bool frozen) { return write_control(kContainer + "/cgroup.freeze", frozen ? "1" : "0"); }

Result<UniqueFd> open_container_events() { return sys::open(kContainer + "/cgroup.events", O_RDONLY); }

bool container_is_frozen(int events) { return event_value(events, "frozen ") == 1; }

bool container_is_populated(int events) { return event_value(events, "populated ") == 1; }

std::uint64_t oom_kills() { return value_of(read_control("memory.events"), "oom_kill "); }

Result<proto::Usage> container_usage() {
  struct sysinfo machine = {};
  timespec now = {};
  if (::sysinfo(&machine) < 0 || ::clock_gettime(CLOCK_MONOTONIC, &now) < 0)
    return fail_errno("ask the kernel about the machine");
  const std::uint64_t memory = value_of(read_control("memory.current"), "");
  const std::uint64_t inactive = value_of(read_control("memory.stat"), "inactive_file ");
  const std::uint64_t limit = value_of(read_control("memory.max"), "");  // 0 for "max"
  const std::uint64_t all = std::uint64_t{machine.totalram} * machine.mem_unit;
  const std::string io = read_control("io.stat");
  proto::Usage usage;
  usage.set_time_ns(static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec));
  usage.set_cpu_ns(value_of(read_control("cpu.stat"), "usage_usec ") * 1000);
  usage.set_memory_bytes(memory - std::min(memory, inactive));
  usage.set_memory_limit_bytes(limit == 0 ? all : std::min(limit, all));
  usage.set_processes(value_of(read_control("pids.current"), ""));
  usage.set_block_read_bytes(value_of(io, "rbytes="));  // the box has one disk
  usage.set_block_write_bytes(value_of(io, "wbytes="));
  return usage;
}

}  // namespace boxlite::agent

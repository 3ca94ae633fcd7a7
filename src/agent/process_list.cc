#include "agent/process_list.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <charconv>
#include <ctime>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/boot.h"
#include "agent/user.h"
#include "base/file.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

constexpr std::size_t kMaxProcFile = 64U << 10U;
constexpr std::size_t kMaxCommand = 4096;
constexpr std::size_t kMaxTotal = 512U << 10U;
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr unsigned kFirstPts = 136;  // Linux's documentation, admin-guide/devices: pseudo-terminals are major 136 to 143
constexpr unsigned kLastPts = 143;

struct Process {
  pid_t pid = 0;  // of the VM
  pid_t parent = 0;
  pid_t inner = 0;  // in the container
  uid_t uid = 0;
  std::uint64_t cpu_ticks = 0;
  std::uint64_t start_ticks = 0;
  dev_t terminal = 0;
  std::string command;
};

template <typename Number>
Number number_of(std::string_view text) {
  Number number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (;;) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t\n"), text.size()));
    if (text.empty()) return words;
    words.push_back(text.substr(0, text.find_first_of(" \t\n")));
    text.remove_prefix(words.back().size());
  }
}

// The value of a line "Key:\tvalue" of /proc/<pid>/status. The name in the first line has its line breaks escaped.
std::string_view status_value(std::string_view status, std::string_view key) {
  const std::string line = "\n" + std::string(key) + ":";
  const std::size_t at = status.find(line);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = status.substr(at + line.size());
  return rest.substr(0, rest.find('\n'));
}

// A read of /proc/<pid>/cmdline is not a regular file's: its size is 0.
std::string read_command(std::string_view pid) {
  const auto fd = sys::open(fmt::format("/proc/{}/cmdline", pid), O_RDONLY);
  if (!fd) return {};
  std::string command(kMaxCommand, '\0');
  const auto count = sys::read_full(fd->get(), std::as_writable_bytes(std::span(command)));
  command.resize(count.value_or(0));
  while (!command.empty() && command.back() == '\0') command.pop_back();
  for (char& c : command) {
    if (c == '\0') c = ' ';
  }
  return command;
}

// nullopt: it is gone, or not the container's.
std::optional<Process> read_process(std::string_view pid) {
  const auto status = read_file(fmt::format("/proc/{}/status", pid), kMaxProcFile);
  const auto stat = read_file(fmt::format("/proc/{}/stat", pid), kMaxProcFile);
  if (!status || !stat) return std::nullopt;
  const auto numbers = words_of(status_value(*status, "NSpid"));  // one for each namespace, the VM's first
  if (numbers.size() < 2) return std::nullopt;
  const std::size_t open = stat->find('(');
  const std::size_t close = stat->rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return std::nullopt;
  const auto fields = words_of(std::string_view(*stat).substr(close + 1));  // from the third on, proc(5)
  if (fields.size() < 20) return std::nullopt;
  Process process;
  process.pid = number_of<pid_t>(pid);
  process.inner = number_of<pid_t>(numbers[1]);
  process.parent = number_of<pid_t>(fields[1]);
  process.terminal = static_cast<dev_t>(number_of<unsigned>(fields[4]));
  process.cpu_ticks = number_of<std::uint64_t>(fields[11]) + number_of<std::uint64_t>(fields[12]);
  process.start_ticks = number_of<std::uint64_t>(fields[19]);
  const auto ids = words_of(status_value(*status, "Uid"));
  if (!ids.empty()) process.uid = number_of<uid_t>(ids[0]);
  process.command = read_command(pid);
  if (process.command.empty()) {
    process.command = "[" + stat->substr(open + 1, close - open - 1) + "]";
    if (fields[0] == "Z") process.command += " <defunct>";
  }
  return process;
}

std::string terminal_name(dev_t device) {
  const unsigned kind = major(device);
  if (kind >= kFirstPts && kind <= kLastPts) return fmt::format("pts/{}", (kind - kFirstPts) * 256 + minor(device));
  return device == 0 ? "" : "console";
}

std::uint64_t clock_ns(clockid_t clock) {
  timespec now = {};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t ticks_to_ns(std::uint64_t ticks) { return ticks * (kSecond / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK))); }

}  // namespace

Result<proto::ProcessList> list_processes() {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc"), ::closedir);
  if (!directory) return fail_errno("list processes");
  std::map<pid_t, Process> by_pid;
  std::map<pid_t, pid_t> outer;  // inner → VM's
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name[0] < '1' || name[0] > '9') continue;
    if (auto process = read_process(name)) {
      outer[process->inner] = process->pid;
      by_pid.emplace(process->pid, std::move(*process));
    }
  }
  TRY_ASSIGN(const UniqueFd root, sys::open(kRootMount, O_PATH | O_DIRECTORY));
  const UserNames users(root.get());
  const std::uint64_t booted = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME);
  proto::ProcessList list;
  std::size_t total = 0;
  for (const auto& [inner, pid] : outer) {
    const Process& process = by_pid.at(pid);
    total += process.command.size() + 128;
    if (total > kMaxTotal) break;
    const auto parent = by_pid.find(process.parent);
    proto::ProcessInfo& info = *list.add_processes();
    info.set_pid(inner);
    info.set_parent(parent == by_pid.end() ? 0 : parent->second.inner);  // the agent's own children have none in there
    info.set_user(users.name(process.uid));
    info.set_started_ns(booted + ticks_to_ns(process.start_ticks));
    info.set_cpu_ns(ticks_to_ns(process.cpu_ticks));
    info.set_terminal(terminal_name(process.terminal));
    info.set_command(process.command);
  }
  return list;
}

}  // namespace boxlite::agent

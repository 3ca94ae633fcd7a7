#include "agent/process_scan.h"

#include <dirent.h>

#include <charconv>
#include <csignal>
#include <memory>
#include <optional>
#include <string_view>

#include "base/file.h"

namespace boxlite::agent {
namespace {

constexpr unsigned long kKernelThread = 0x00200000;  // PF_KTHREAD

struct Stat {
  pid_t session = 0;
  unsigned long flags = 0;
};

// proc(5): after the command's name, which may hold anything, come state ppid pgrp session tty_nr tpgid flags.
std::optional<Stat> read_stat(std::string_view pid) {
  const auto text = read_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!text) return std::nullopt;
  const std::size_t close = text->rfind(')');
  if (close == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(*text).substr(close + 1);
  Stat stat;
  for (int field = 0; field <= 6; ++field) {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    const std::string_view word = rest.substr(0, rest.find(' '));
    if (field == 3) std::from_chars(word.data(), word.data() + word.size(), stat.session);
    if (field == 6) std::from_chars(word.data(), word.data() + word.size(), stat.flags);
    rest.remove_prefix(word.size());
  }
  return stat;
}

template <typename Wanted>
Result<void> signal_all(int signal, Wanted wanted) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc"), ::closedir);
  if (!directory) return fail_errno("list processes");
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size() || pid <= 1) continue;
    const auto stat = read_stat(name);
    if (stat && wanted(*stat)) ::kill(pid, signal);
  }
  return {};
}

}  // namespace

Result<void> signal_session(pid_t leader, int signal) {
  return signal_all(signal, [leader](const Stat& stat) { return stat.session == leader; });
}

Result<void> signal_everything(int signal) {
  return signal_all(signal, [](const Stat& stat) { return (stat.flags & kKernelThread) == 0; });
}

}  // namespace boxlite::agent

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

// proc(5): after the command's name, which may hold anything, come state ppid pgrp session tty_nr tpgid flags.
std::optional<unsigned long> read_flags(std::string_view pid) {
  const auto text = read_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!text) return std::nullopt;
  const std::size_t close = text->rfind(')');
  if (close == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(*text).substr(close + 1);
  unsigned long flags = 0;
  for (int field = 0; field <= 6; ++field) {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    const std::string_view word = rest.substr(0, rest.find(' '));
    if (field == 6) std::from_chars(word.data(), word.data() + word.size(), flags);
    rest.remove_prefix(word.size());
  }
  return flags;
}

}  // namespace

Result<void> signal_everything(int signal) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/proc"), ::closedir);
  if (!directory) return fail_errno("list processes");
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size() || pid <= 1) continue;
    const auto flags = read_flags(name);
    if (flags && (*flags & kKernelThread) == 0) ::kill(pid, signal);
  }
  return {};
}

}  // namespace boxlite::agent

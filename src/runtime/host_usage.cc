#include "runtime/host_usage.h"

#include <unistd.h>

#include <charconv>
#include <ctime>
#include <sstream>
#include <string>
#include <string_view>

#include "base/file.h"
#include "runtime/process_tree.h"

namespace boxlite {
namespace {

constexpr std::size_t kMaxUsageFile = 64U << 10U;
constexpr std::uint64_t kSecond = 1'000'000'000;

// proc(5): fields 14 and 15 of stat, utime and stime. The name before them may hold anything.
std::uint64_t cpu_ns(pid_t pid) {
  const auto stat = read_file(fmt::format("/proc/{}/stat", pid), kMaxUsageFile);
  const std::size_t close = stat ? stat->rfind(')') : std::string::npos;
  if (close == std::string::npos) return 0;
  std::istringstream fields(stat->substr(close + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  std::uint64_t user = 0;
  std::uint64_t kernel = 0;
  fields >> user >> kernel;
  return (user + kernel) * (kSecond / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK)));
}

std::uint64_t memory_bytes(pid_t pid) {
  const auto status = read_file(fmt::format("/proc/{}/status", pid), kMaxUsageFile);
  if (!status) return 0;
  std::uint64_t kib = 0;
  for (const std::string_view key : {"\nRssAnon:", "\nRssShmem:"}) {
    const std::size_t at = status->find(key);
    if (at == std::string::npos) continue;
    const std::size_t begin = std::min(status->find_first_not_of(" \t", at + key.size()), status->size());
    std::uint64_t value = 0;
    std::from_chars(status->data() + begin, status->data() + status->size(), value);
    kib += value;
  }
  return kib * 1024;
}

std::uint64_t monotonic_ns() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

HostUsage host_usage(pid_t root) {
  HostUsage usage;
  usage.time_ns = monotonic_ns();
  for (const pid_t pid : process_tree(root)) {
    usage.cpu_ns += cpu_ns(pid);
    usage.memory_bytes += memory_bytes(pid);
  }
  return usage;
}

}  // namespace boxlite

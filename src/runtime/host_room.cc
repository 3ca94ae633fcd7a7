#include "runtime/host_room.h"

#include <sys/statvfs.h>

#include <charconv>

#include "base/file.h"

namespace boxlite {
namespace {

std::uint64_t field(std::string_view meminfo, std::string_view name) {
  std::size_t at = meminfo.find(name);
  if (at == std::string_view::npos) return 0;
  at = meminfo.find_first_not_of(' ', at + name.size());
  if (at == std::string_view::npos) return 0;
  std::uint64_t kib = 0;
  std::from_chars(meminfo.data() + at, meminfo.data() + meminfo.size(), kib);
  return kib * 1024;
}

}  // namespace

std::uint64_t available_memory(std::string_view meminfo) { return field(meminfo, "MemAvailable:") + field(meminfo, "SwapFree:"); }

Result<void> check_room(const std::string& home, std::uint64_t memory_mib) {
  // A host that does not tell is not asked.
  if (const auto meminfo = read_file("/proc/meminfo", 65536); meminfo && available_memory(*meminfo) != 0) {
    const std::uint64_t available = available_memory(*meminfo);
    if (available < (memory_mib << 20U) + kVmOverhead)
      return fail(
          ErrorCode::kResourceExhausted,
          "a box of {} MiB needs {} MiB of the host's memory, and {} MiB are available: stop something, or make a box with "
          "less --memory",
          memory_mib, memory_mib + (kVmOverhead >> 20U), available >> 20U);
  }
  struct statvfs disk = {};
  if (::statvfs(home.c_str(), &disk) < 0) return fail_errno("free space of {}", home);
  const std::uint64_t free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  if (free < kLeastSpace)
    return fail(
        ErrorCode::kResourceExhausted,
        "the file system of {} has {} MiB left, and a box needs {} MiB to begin: free some, with `boxlite image prune` for one",
        home, free >> 20U, kLeastSpace >> 20U);
  return {};
}

}  // namespace boxlite

#include "vmm/host_clock.h"

#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

#include <limits>
#include <optional>

#include "base/file.h"
#include "base/json.h"
#include "base/ofd_lock.h"
#include "base/process.h"

namespace boxlite::vmm {
namespace {

constexpr std::chrono::seconds kLockTimeout{10};

struct Sample {
  std::uint64_t ticks;
  std::uint64_t ns;
};

std::uint64_t now_ns() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

// Both clocks at one moment. Of several tries the one in which the two readings of the counter lie closest counts: the others
// were interrupted between them.
Sample sample() {
  Sample best = {};
  std::uint64_t narrowest = std::numeric_limits<std::uint64_t>::max();
  for (int i = 0; i < 50; ++i) {
    const std::uint64_t before = __rdtsc();
    const std::uint64_t ns = now_ns();
    const std::uint64_t after = __rdtsc();
    if (after - before >= narrowest) continue;
    narrowest = after - before;
    best = {before + narrowest / 2, ns};
  }
  return best;
}

std::optional<std::uint64_t> remembered_tsc_khz(const std::string& memo_path, const std::string& boot) {
  const auto text = read_file(memo_path, 4096);
  if (!text) return std::nullopt;
  const auto memo = parse_json(*text, memo_path);
  if (!memo) return std::nullopt;
  const auto memo_boot = json_get<std::string>(*memo, "boot_id", memo_path);
  const auto khz = json_get<std::uint64_t>(*memo, "tsc_khz", memo_path);
  if (!memo_boot || !khz || *memo_boot != boot || *khz == 0) return std::nullopt;
  return *khz;
}

}  // namespace

Result<std::uint64_t> measure_tsc_khz() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (d & (1U << 4U)) == 0)
    return fail(ErrorCode::kUnsupported, "this CPU has no time stamp counter");
  const Sample begin = sample();
  timespec pause = {0, 20'000'000};
  while (::nanosleep(&pause, &pause) < 0) {
  }
  const Sample end = sample();
  const std::uint64_t elapsed_ns = end.ns - begin.ns;
  if (end.ticks <= begin.ticks || elapsed_ns == 0)
    return fail(ErrorCode::kUnsupported, "this host's time stamp counter does not count up");
  return static_cast<std::uint64_t>(static_cast<double>(end.ticks - begin.ticks) * 1e6 / static_cast<double>(elapsed_ns) + 0.5);
}

Result<std::uint64_t> cached_tsc_khz(const std::string& memo_path) {
  TRY_ASSIGN(const std::string boot, boot_id());
  if (const auto khz = remembered_tsc_khz(memo_path, boot)) return *khz;
  // Two measurements differ in the last digits, and a template is of one: of those who ask first at once one measures.
  const auto lock = OfdLock::acquire(memo_path + ".lock", kLockTimeout);
  if (const auto khz = remembered_tsc_khz(memo_path, boot)) return *khz;
  TRY_ASSIGN(const std::uint64_t khz, measure_tsc_khz());
  (void)write_file_volatile(memo_path, dump_json({{"boot_id", boot}, {"tsc_khz", khz}}), 0600);
  return khz;
}

}  // namespace boxlite::vmm

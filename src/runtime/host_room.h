// Whether the host can hold one more box.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace boxlite {

/// What QEMU and its jail need besides the guest's memory, in bytes; its translation cache is reserved, not used, at first.
inline constexpr std::uint64_t kVmOverhead = std::uint64_t{64} << 20U;
/// What the file system of the home must have left for a start, in bytes: a new disk, logs and records take about one MiB, the
/// rest is for the guest's first writes.
inline constexpr std::uint64_t kLeastSpace = std::uint64_t{16} << 20U;

/// kResourceExhausted, with what there is and what to do, when the host has not as much memory available as a box of `memory_mib`
/// may use, or the file system of `home` not the little that a box needs to begin. The memory of boxes that have not used theirs
/// yet counts as available, so that more can be started than could all be full at once.
Result<void> check_room(const std::string& home, std::uint64_t memory_mib);

/// MemAvailable and SwapFree of /proc/meminfo's text, in bytes; what is not there counts as nothing.
std::uint64_t available_memory(std::string_view meminfo);

}  // namespace boxlite

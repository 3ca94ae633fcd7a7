// The frequency of the host's time stamp counter: a guest under TCG must be told, since it cannot measure it reliably.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace boxlite::vmm {

/// TSC ticks per millisecond, measured against CLOCK_MONOTONIC_RAW in about 20 ms; within some 50 ppm even on a busy host.
/// kUnsupported when this host has no TSC that counts at a constant rate.
Result<std::uint64_t> measure_tsc_khz();

/// The same, remembered in `memo_path` for this boot of the host. A memo that cannot be read or written costs the measurement
/// again.
Result<std::uint64_t> cached_tsc_khz(const std::string& memo_path);

}  // namespace boxlite::vmm

#include "image/job_monitor.h"

namespace boxlite::image {

Result<void> JobMonitor::step(const std::string& what, std::uint64_t done, std::uint64_t total) {
  constexpr auto kInterval = std::chrono::milliseconds(100);
  TRY(check());
  const auto now = std::chrono::steady_clock::now();
  const bool finished = total != 0 && done == total;
  if (what == last_what_ && !finished && now - last_time_ < kInterval) return {};
  last_what_ = what;
  last_time_ = now;
  return emit_({.what = what, .done = done, .total = total});
}

Result<void> JobMonitor::check() const {
  if (interrupted_()) return fail(ErrorCode::kUnavailable, "the image job was interrupted");
  return {};
}

}  // namespace boxlite::image

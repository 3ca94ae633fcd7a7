#include "image/job_monitor.h"

namespace boxlite::image {

Result<void> JobMonitor::step(const std::string& what, std::uint64_t done, std::uint64_t total) {
  constexpr auto kInterval = std::chrono::milliseconds(100);
  TRY(check());
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  if (total != 0 && done == total) {
    last_time_.erase(what);
  } else {
    const auto [it, first] = last_time_.try_emplace(what, now);
    if (!first && now - it->second < kInterval) return {};
    it->second = now;
  }
  return emit_({.what = what, .done = done, .total = total});
}

Result<void> JobMonitor::check() const {
  if (cancelled_ || interrupted_()) return fail(ErrorCode::kUnavailable, "the image job was interrupted");
  return {};
}

Result<void> JobMonitor::pause(std::chrono::milliseconds time) const {
  TRY(check());
  pause_(time);
  return check();
}

}  // namespace boxlite::image

#include "cli/pull_progress.h"

#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "base/sys.h"
#include "cli/format.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace boxlite::cli {
namespace {

constexpr std::size_t kBarWidth = 30;

// "layer sha256:0123…" is "layer 0123456789ab".
std::string label(const std::string& what) {
  const std::size_t digest = what.find("sha256:");
  return digest == std::string::npos ? what : what.substr(0, digest) + short_digest(what.substr(digest));
}

bool is_waiting(const PullProgress& progress) { return progress.total_bytes == 0; }
bool is_done(const PullProgress& progress) { return !is_waiting(progress) && progress.done_bytes >= progress.total_bytes; }

std::string done_line(const PullProgress& progress) {
  return fmt::format("{}: {} done", label(progress.what), human_size(progress.total_bytes));
}

class PlainLines {
 public:
  void operator()(const PullProgress& progress) {
    if (progress.what == "unpack" || !(is_waiting(progress) || is_done(progress))) return;
    if (!reported_.insert(progress.what).second) return;
    print_notice(is_waiting(progress) ? "waiting for " + progress.what : done_line(progress));
  }

 private:
  std::set<std::string> reported_;
};

std::string bar_line(const PullProgress& progress) {
  if (is_waiting(progress)) return "waiting for " + progress.what;
  if (progress.what == "unpack") return fmt::format("unpack: layer {} of {}", progress.done_bytes, progress.total_bytes - 1);
  const double share = static_cast<double>(progress.done_bytes) / static_cast<double>(progress.total_bytes);
  const auto filled = std::min(static_cast<std::size_t>(share * kBarWidth), kBarWidth - 1);
  return fmt::format("{}: [{}>{}] {}/{}", label(progress.what), std::string(filled, '='),
                     std::string(kBarWidth - 1 - filled, ' '), human_size(progress.done_bytes), human_size(progress.total_bytes));
}

// The bars are the last lines of the screen; each drawing begins at the first of them. A bar that is full becomes a line above.
class LiveBars {
 public:
  void operator()(const PullProgress& progress) {
    std::string text = bars_.empty() ? "\r" : fmt::format("\r\x1b[{}A", bars_.size());
    std::erase_if(bars_, [&](const PullProgress& bar) { return bar.what != progress.what && is_over(bar, progress); });
    const auto bar = std::ranges::find(bars_, progress.what, &PullProgress::what);
    if (is_done(progress)) {
      if (bar != bars_.end()) bars_.erase(bar);
      text += line(done_line(progress));
    } else if (bar != bars_.end()) {
      *bar = progress;
    } else {
      bars_.push_back(progress);
    }
    for (const PullProgress& shown : bars_) text += line(bar_line(shown));
    (void)sys::write_all(STDERR_FILENO, text + "\x1b[J");
  }

 private:
  // What has no end of its own ends when the next thing begins.
  static bool is_over(const PullProgress& bar, const PullProgress& next) {
    return is_waiting(bar) || (bar.what == "unpack" && next.what == "disk");
  }

  static std::string line(const std::string& text) {
    const std::size_t columns = window_size().value_or(WindowSize{24, 80}).columns;
    return truncate(one_line(text), columns - 1) + "\x1b[K\n";
  }

  std::vector<PullProgress> bars_;
};

}  // namespace

ProgressSink live_progress() { return LiveBars(); }

ProgressSink plain_progress() { return PlainLines(); }

}  // namespace boxlite::cli

#include "cli/timing.h"

#include <unistd.h>

#include <algorithm>

#include <fmt/core.h>

#include "base/sys.h"

namespace boxlite::cli {

std::string Timing::table() const {
  std::vector<StartStep> steps = steps_;
  std::ranges::stable_sort(steps, {}, &StartStep::at);
  const auto milliseconds = [](std::chrono::steady_clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
  };
  std::string text = "    at ms    step ms\n";
  auto before = begin_;
  for (const StartStep& step : steps) {
    text += fmt::format("{:9.1f}  {:9.1f}  {}\n", milliseconds(step.at - begin_), milliseconds(step.at - before), step.what);
    before = step.at;
  }
  return text;
}

void Timing::print() const {
  if (on_) (void)sys::write_all(STDERR_FILENO, table());
}

}  // namespace boxlite::cli

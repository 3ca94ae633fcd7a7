#include "cli/pull_progress.h"

#include <memory>
#include <set>
#include <string>

#include <fmt/core.h>

#include "cli/format.h"
#include "cli/output.h"

namespace boxlite::cli {

std::function<void(const PullProgress&)> pull_progress_lines() {
  return [reported = std::make_shared<std::set<std::string>>()](const PullProgress& progress) {
    // Nothing is said before a thing is complete: when it fails instead, the error is the only line about it.
    if (progress.total_bytes == 0 || progress.done_bytes < progress.total_bytes) return;
    if (!reported->insert(progress.what).second) return;
    print_notice(fmt::format("{}: {} done", progress.what, human_size(progress.total_bytes)));
  };
}

}  // namespace boxlite::cli

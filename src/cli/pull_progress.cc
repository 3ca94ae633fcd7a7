#include "cli/pull_progress.h"

#include <unistd.h>

#include <set>
#include <string>

#include <fmt/core.h>

#include "cli/format.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace boxlite::cli {
namespace {

class ProgressLines {
 public:
  void operator()(const PullProgress& progress) {
    if (progress.total_bytes == 0 || progress.done_bytes < progress.total_bytes) return;
    if (!reported_.insert(progress.what).second) return;
    print_notice(fmt::format("{}: {} done", progress.what, human_size(progress.total_bytes)));
  }

 private:
  std::set<std::string> reported_;
};

}  // namespace

PullOptions pull_options() {
  PullOptions options;
  if (is_terminal(STDERR_FILENO)) options.on_progress = ProgressLines();
  return options;
}

}  // namespace boxlite::cli

#include "cli/pull_flags.h"

#include <unistd.h>

#include "cli/pull_progress.h"
#include "cli/terminal.h"

namespace boxlite::cli {

void PullFlags::add_to(FlagSet& flags) {
  flags.value("--platform", "OS/ARCH[/VARIANT]", platform_, "Of an image for several: which one (default linux/amd64)");
}

void PullFlags::add_policy_to(FlagSet& flags) {
  add_to(flags);
  flags.value("--pull", "always|missing|never", policy_, "When to ask the registry for the image (default missing)");
  flags.flag("-q,--quiet", quiet_, "No progress of the image's pull");
}

Result<PullOptions> PullFlags::options() const {
  PullOptions options;
  if (platform_) {
    const std::size_t slash = platform_->find('/');
    if (slash == 0 || slash == std::string::npos || slash + 1 == platform_->size())
      return fail(ErrorCode::kInvalidArgument, "--platform {}: not OS/ARCH or OS/ARCH/VARIANT, like linux/amd64", *platform_);
    options.platform = *platform_;
  }
  if (policy_ == "always") {
    options.policy = PullPolicy::kAlways;
  } else if (policy_ == "never") {
    options.policy = PullPolicy::kNever;
  } else if (policy_ && policy_ != "missing") {
    return fail(ErrorCode::kInvalidArgument, "--pull {}: use always, missing or never", policy_->empty() ? "\"\"" : *policy_);
  }
  if (!quiet_ && is_terminal(STDERR_FILENO)) options.on_progress = live_progress();
  return options;
}

}  // namespace boxlite::cli

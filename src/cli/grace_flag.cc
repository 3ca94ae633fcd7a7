#include "cli/grace_flag.h"

#include "cli/values.h"

namespace boxlite::cli {

void GraceFlag::add_to(FlagSet& flags) {
  flags.value("-t,--time", "SECONDS", time_,
              "Time between the stop signal and SIGKILL (default: the box's --stop-timeout, else 10)");
}

Result<std::optional<std::chrono::seconds>> GraceFlag::grace() const {
  if (!time_) return std::nullopt;
  return parse_seconds("--time", *time_);
}

}  // namespace boxlite::cli

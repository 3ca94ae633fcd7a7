// boxlite restart: stop boxes politely and start them again, with their disks.
#include "cli/each_box.h"
#include "cli/output.h"
#include "cli/values.h"

namespace boxlite::cli {

Result<int> verb_restart(Invocation& invocation) {
  FlagSet flags(invocation, "restart", "[OPTIONS] BOX [BOX...]",
                "Stop boxes and start them again; one that does not run is started");
  std::optional<std::string> time;
  flags.value("-t,--time", "SECONDS", time,
              "Time between the stop signal and SIGKILL (default: the box's --stop-timeout, else 10)");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));
  std::optional<std::chrono::seconds> grace;
  if (time) {
    TRY_ASSIGN(grace, parse_seconds("--time", *time));
  }

  TRY_ASSIGN(const Runtime runtime, open_runtime(invocation));
  return for_each_box(runtime, *operands, [grace](Box& box, const std::string& reference) -> Result<void> {
    TRY(box.restart(grace));
    return print(reference + "\n");
  });
}

}  // namespace boxlite::cli

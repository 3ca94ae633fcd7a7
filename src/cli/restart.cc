// boxlite restart: stop boxes politely and start them again, with their disks.
#include "cli/each_box.h"
#include "cli/grace_flag.h"

namespace boxlite::cli {

Result<int> verb_restart(Invocation& invocation) {
  FlagSet flags(invocation, "restart", "[OPTIONS] BOX [BOX...]",
                "Stop boxes and start them again; one that does not run is started");
  GraceFlag time;
  time.add_to(flags);
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));
  TRY_ASSIGN(const auto grace, time.grace());

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  return for_all_boxes(runtime, *operands, [grace](Box& box) { return box.restart(grace); });
}

}  // namespace boxlite::cli

// boxlite stop: end boxes politely.
#include "cli/each_box.h"
#include "cli/grace_flag.h"

namespace boxlite::cli {

Result<int> verb_stop(Invocation& invocation) {
  FlagSet flags(invocation, "stop", "[OPTIONS] BOX [BOX...]", "Stop boxes: their stop signal, then SIGKILL; disks are synced");
  GraceFlag time;
  time.add_to(flags);
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));
  TRY_ASSIGN(const auto grace, time.grace());

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  return for_all_boxes(runtime, *operands, [grace](Box& box) { return box.stop(grace); });
}

}  // namespace boxlite::cli

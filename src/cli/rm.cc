// boxlite rm: remove boxes and all they use.
#include "cli/each_box.h"

namespace boxlite::cli {

Result<int> verb_rm(Invocation& invocation) {
  FlagSet flags(invocation, "rm", "[OPTIONS] BOX [BOX...]", "Remove boxes with their disks");
  bool force = false;
  bool volumes = false;
  flags.flag("-f,--force", force, "Kill a running box first; one that is not there is no error");
  flags.flag("-v,--volumes", volumes, "Remove the box's anonymous volumes too");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  return for_all_boxes(
      runtime, *operands, [force, volumes](Box& box) { return box.remove(force, volumes); },
      force ? Missing::kIsNoError : Missing::kIsError);
}

}  // namespace boxlite::cli

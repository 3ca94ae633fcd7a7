// boxlite start: start boxes in the background.
#include "cli/each_box.h"

namespace boxlite::cli {

Result<int> verb_start(Invocation& invocation) {
  FlagSet flags(invocation, "start", "BOX [BOX...]", "Start stopped boxes; one that runs is left alone");
  flags.refuse({"-a", "--attach", "-i", "--interactive"}, "boxes start in the background; boxlite attach BOX connects to one");
  bool discard = false;
  flags.flag("--discard-memory", discard, "A suspended box boots with its disk as it is, and its memory is lost");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  return for_all_boxes(runtime, *operands, [discard](Box& box) -> Result<void> {
    StartOptions options;
    options.discard_memory = discard;
    TRY(box.start(options));
    return {};
  });
}

}  // namespace boxlite::cli

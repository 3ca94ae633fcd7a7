// boxlite start: start boxes in the background.
#include "cli/each_box.h"
#include "cli/output.h"

namespace boxlite::cli {

Result<int> verb_start(Invocation& invocation) {
  FlagSet flags(invocation, "start", "BOX [BOX...]", "Start stopped boxes; one that runs is left alone");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  return for_each_box(runtime, *operands, [](Box& box, const std::string& reference) -> Result<void> {
    TRY(box.start({}));
    return print(reference + "\n");
  });
}

}  // namespace boxlite::cli

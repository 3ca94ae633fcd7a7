// boxlite wait: wait for the end of boxes.
#include "cli/each_box.h"
#include "cli/output.h"

namespace boxlite::cli {

Result<int> verb_wait(Invocation& invocation) {
  FlagSet flags(invocation, "wait", "BOX [BOX...]", "Wait until boxes have ended and print their exit codes");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  return for_each_box(runtime, *operands, [](Box& box, const std::string&) -> Result<void> {
    TRY_ASSIGN(const int code, box.wait());
    return print(fmt::format("{}\n", code));
  });
}

}  // namespace boxlite::cli

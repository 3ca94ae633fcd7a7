// boxlite wait: wait for the end of boxes.
#include "cli/each_box.h"

namespace boxlite::cli {

Result<int> verb_wait(Invocation& invocation) {
  FlagSet flags(invocation, "wait", "BOX [BOX...]", "Wait until boxes have ended and print their exit codes");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  return for_all_boxes(runtime, *operands, [](Box& box, const std::string&) -> Result<std::string> {
    TRY_ASSIGN(const int code, box.wait());
    return std::to_string(code);
  });
}

}  // namespace boxlite::cli

// boxlite rename: another name for a box, running or not.
#include "cli/flag_set.h"

namespace boxlite::cli {

Result<int> verb_rename(Invocation& invocation) {
  FlagSet flags(invocation, "rename", "BOX NAME", "Give a box another name");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() != 2 || operands->front().empty() || operands->back().empty())
    return flags.usage_error("rename takes a BOX and its new NAME");

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(Box box, runtime.get(operands->front()));
  TRY(box.rename(operands->back()));
  return 0;
}

}  // namespace boxlite::cli

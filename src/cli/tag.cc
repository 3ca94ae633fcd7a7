// boxlite tag: one more name for an image.
#include "cli/flag_set.h"

namespace boxlite::cli {

Result<int> verb_tag(Invocation& invocation) {
  FlagSet flags(invocation, "tag", "IMAGE NAME[:TAG]", "Give an image one more name");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() != 2) return flags.usage_error("tag takes an IMAGE and a new NAME");
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY(runtime.tag(operands->at(0), operands->at(1)));
  return 0;
}

}  // namespace boxlite::cli

// boxlite pause, unpause: machines that stand still, and go on.
#include "cli/each_box.h"

namespace boxlite::cli {
namespace {

Result<int> for_boxes(Invocation& invocation, const std::string& verb, const std::string& summary,
                      Result<void> (Box::*action)()) {
  FlagSet flags(invocation, verb, "BOX [BOX...]", summary);
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));
  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  return for_all_boxes(runtime, *operands, [action](Box& box) { return (box.*action)(); });
}

}  // namespace

Result<int> verb_pause(Invocation& invocation) {
  return for_boxes(invocation, "pause", "Let boxes stand still: they use no CPU, and keep their memory", &Box::pause);
}

Result<int> verb_unpause(Invocation& invocation) {
  return for_boxes(invocation, "unpause", "Let paused boxes go on", &Box::unpause);
}

}  // namespace boxlite::cli

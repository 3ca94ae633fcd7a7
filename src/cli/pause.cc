// boxlite pause, unpause: machines that stand still, and go on.
#include "cli/each_box.h"

namespace boxlite::cli {
namespace {

Result<int> for_boxes(Invocation& invocation, const FlagSet& flags, const std::vector<std::string>& boxes,
                      Result<void> (Box::*action)()) {
  TRY(require_boxes(flags, boxes));
  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  return for_all_boxes(runtime, boxes, [action](Box& box) { return (box.*action)(); });
}

}  // namespace

Result<int> verb_pause(Invocation& invocation) {
  FlagSet flags(invocation, "pause", "[OPTIONS] BOX [BOX...]", "Let boxes stand still: they use no CPU, and keep their memory");
  bool to_disk = false;
  flags.flag("--to-disk", to_disk, "Write the memory to the disk and end the machine; boxlite start goes on where it stood");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  return for_boxes(invocation, flags, *operands, to_disk ? &Box::pause_to_disk : &Box::pause);
}

Result<int> verb_unpause(Invocation& invocation) {
  FlagSet flags(invocation, "unpause", "BOX [BOX...]", "Let paused boxes go on");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  return for_boxes(invocation, flags, *operands, &Box::unpause);
}

}  // namespace boxlite::cli

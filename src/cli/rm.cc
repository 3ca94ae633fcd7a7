// boxlite rm: remove boxes and all they use.
#include "cli/each_box.h"
#include "cli/output.h"

namespace boxlite::cli {

Result<int> verb_rm(Invocation& invocation) {
  FlagSet flags(invocation, "rm", "[OPTIONS] BOX [BOX...]", "Remove boxes with their disks");
  bool force = false;
  flags.flag("-f,--force", force, "Kill a running box first");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));

  TRY_ASSIGN(const Runtime runtime, open_runtime(invocation));
  return for_each_box(runtime, *operands, [force](Box& box, const std::string& reference) -> Result<void> {
    TRY(box.remove(force));
    return print(reference + "\n");
  });
}

}  // namespace boxlite::cli

// boxlite create: make a box and leave it stopped.
#include <unistd.h>

#include "cli/box_flags.h"
#include "cli/output.h"
#include "cli/pull_progress.h"
#include "cli/terminal.h"

namespace boxlite::cli {

Result<int> verb_create(Invocation& invocation) {
  FlagSet flags(invocation, "create", "[OPTIONS] IMAGE [COMMAND [ARG...]]", "Create a box from an image; boxlite start runs it");
  BoxFlags box_flags;
  box_flags.add_to(flags);
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kEndFlags));
  if (!operands) return 0;
  TRY_ASSIGN(const BoxOptions options, box_flags.options(flags, *operands));

  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  PullOptions pull;
  if (is_terminal(STDERR_FILENO)) pull.on_progress = pull_progress_lines();
  TRY_ASSIGN(const Box box, runtime.create(options, pull));
  TRY(print(box.id() + "\n"));
  return 0;
}

}  // namespace boxlite::cli

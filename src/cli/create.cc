// boxlite create: make a box and leave it stopped.
#include "cli/box_flags.h"
#include "cli/cid_file.h"
#include "cli/output.h"
#include "cli/pull_flags.h"

namespace boxlite::cli {

Result<int> verb_create(Invocation& invocation) {
  FlagSet flags(invocation, "create", "[OPTIONS] IMAGE [COMMAND [ARG...]]", "Create a box from an image; boxlite start runs it");
  BoxFlags box_flags;
  box_flags.add_to(flags);
  std::optional<std::string> cid_path;
  flags.value("--cidfile", "FILE", cid_path, "Write the id of the box to a new file");
  PullFlags pull_flags;
  pull_flags.add_policy_to(flags);
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kEndFlags));
  if (!operands) return 0;
  TRY_ASSIGN(const BoxOptions options, box_flags.options(flags, *operands));
  TRY_ASSIGN(const PullOptions pull, pull_flags.options());

  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(CidFile cid_file, CidFile::create(cid_path));
  TRY_ASSIGN(Box box, runtime.create(options, pull));
  TRY(cid_file.keep(box));
  TRY(print(box.id() + "\n"));
  return 0;
}

}  // namespace boxlite::cli

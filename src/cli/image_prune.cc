// boxlite image prune: remove images that nobody needs, and report the space.
#include "cli/confirm.h"
#include "cli/flag_set.h"
#include "cli/format.h"
#include "cli/image_name.h"
#include "cli/output.h"

namespace boxlite::cli {

Result<int> verb_image_prune(Invocation& invocation) {
  FlagSet flags(invocation, "image prune", "[OPTIONS]", "Remove images without a name, and all that nothing refers to any more");
  bool all = false;
  bool force = false;
  flags.flag("-a,--all", all, "All images that no box was made from");
  flags.flag("-f,--force", force, "Do not ask");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (!operands->empty()) return flags.usage_error(fmt::format("image prune takes no operand, got {}", operands->front()));
  if (!force) {
    TRY_ASSIGN(const bool sure, confirm_removal(all ? "images without at least one box associated to them" : "dangling images"));
    if (!sure) return 0;
  }
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(const ImageRemoval removal, runtime.prune_images(all));
  const std::string removed = removal_text(removal, false);
  if (!removed.empty()) TRY(print("Deleted Images:\n" + removed + "\n"));
  TRY(print(fmt::format("Total reclaimed space: {}\n", human_size(removal.reclaimed_bytes))));
  return 0;
}

}  // namespace boxlite::cli

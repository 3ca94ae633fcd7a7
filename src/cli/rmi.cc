// boxlite rmi: take names from images, and remove images that have none left.
#include "cli/flag_set.h"
#include "cli/image_name.h"
#include "cli/output.h"

namespace boxlite::cli {

Result<int> verb_rmi(Invocation& invocation) {
  FlagSet flags(invocation, "rmi", "[OPTIONS] IMAGE [IMAGE...]", "Remove images");
  bool force = false;
  flags.flag("-f,--force", force, "Also one that a box was made from, or all names of an id; a missing image is no failure");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->empty()) return flags.usage_error("no IMAGE was given");
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  int status = 0;
  for (const std::string& reference : *operands) {
    const auto removal = runtime.remove_image(reference, force);
    if (removal) {
      TRY(print(removal_text(*removal, true)));
      continue;
    }
    print_error(removal.error().message());
    if (!force || removal.error().code() != ErrorCode::kNotFound) status = exit_status(removal.error().code());
  }
  return status;
}

}  // namespace boxlite::cli

// boxlite pull: get an image, or the newest one of its name.
#include "cli/flag_set.h"
#include "cli/output.h"
#include "cli/pull_progress.h"

namespace boxlite::cli {

Result<int> verb_pull(Invocation& invocation) {
  FlagSet flags(invocation, "pull", "IMAGE", "Get an image from its registry, or from an OCI layout (oci:DIR)");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() != 1 || operands->front().empty()) return flags.usage_error("pull takes one IMAGE");

  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(const ImageInfo image, runtime.pull(operands->front(), pull_options()));
  TRY(print(one_line(image.reference + " " + image.manifest_digest) + "\n"));
  return 0;
}

}  // namespace boxlite::cli

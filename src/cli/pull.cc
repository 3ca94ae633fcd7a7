// boxlite pull: get an image, or the newest one of its name.
#include <unistd.h>

#include "cli/flag_set.h"
#include "cli/output.h"
#include "cli/pull_flags.h"
#include "cli/pull_progress.h"

namespace boxlite::cli {

Result<int> verb_pull(Invocation& invocation) {
  FlagSet flags(invocation, "pull", "[OPTIONS] IMAGE", "Get an image from its registry, or from an OCI layout (oci:DIR)");
  PullFlags pull_flags;
  bool quiet = false;
  pull_flags.add_to(flags);
  flags.flag("-q,--quiet", quiet, "No progress; print the image's reference only");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() != 1 || operands->front().empty()) return flags.usage_error("pull takes one IMAGE");
  TRY_ASSIGN(PullOptions options, pull_flags.options());
  if (!options.on_progress) options.on_progress = plain_progress();
  if (quiet) options.on_progress = nullptr;

  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(const ImageInfo image, runtime.pull(operands->front(), options));
  TRY(print(one_line(quiet ? image.reference : image.reference + " " + image.manifest_digest) + "\n"));
  return 0;
}

}  // namespace boxlite::cli

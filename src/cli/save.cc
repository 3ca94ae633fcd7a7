// boxlite save: images as an archive.
#include <unistd.h>

#include "cli/flag_set.h"
#include "cli/output_file.h"
#include "cli/terminal.h"

namespace boxlite::cli {

Result<int> verb_save(Invocation& invocation) {
  FlagSet flags(invocation, "save", "[OPTIONS] IMAGE [IMAGE...]",
                "Write images into a tar that is both, docker's archive and an OCI image layout");
  std::optional<std::string> output;
  flags.value("-o,--output", "FILE", output, "Write to a file instead of standard output");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->empty()) return flags.usage_error("no IMAGE was given");
  if (!output && is_terminal(STDOUT_FILENO)) {
    return fail(ErrorCode::kInvalidArgument,
                "save: a tar is not written to a terminal; use -o FILE, or redirect standard output");
  }
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  if (!output) {
    TRY(runtime.save(*operands, STDOUT_FILENO, "standard output"));
    return 0;
  }
  for (const std::string& reference : *operands) TRY(runtime.image(reference));
  TRY_ASSIGN(OutputFile file, OutputFile::create(*output));
  TRY(runtime.save(*operands, file.fd(), *output));
  TRY(file.commit());
  return 0;
}

}  // namespace boxlite::cli

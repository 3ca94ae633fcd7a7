// boxlite export: a box as an archive.
#include <unistd.h>

#include "cli/flag_set.h"
#include "cli/output_file.h"
#include "cli/terminal.h"

namespace boxlite::cli {

Result<int> verb_export(Invocation& invocation) {
  FlagSet flags(invocation, "export", "[OPTIONS] BOX", "Write a box into an archive (.boxlite), which import makes a box of");
  std::optional<std::string> output;
  bool memory = false;
  flags.value("-o,--output", "FILE", output, "Write to a file instead of standard output");
  flags.flag("--memory", memory, "The running machine too: its copy goes on where this one is now");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() != 1) return flags.usage_error(fmt::format("export takes one BOX, got {} operands", operands->size()));
  if (!output && is_terminal(STDOUT_FILENO)) {
    return fail(ErrorCode::kInvalidArgument,
                "export: an archive is not written to a terminal; use -o FILE, or redirect standard output");
  }
  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(Box box, runtime.get(operands->front()));
  if (!output) {
    TRY(box.export_archive(STDOUT_FILENO, "standard output", memory));
    return 0;
  }
  TRY_ASSIGN(OutputFile file, OutputFile::create(*output, 0600));
  TRY(box.export_archive(file.fd(), *output, memory));
  TRY(file.commit());
  return 0;
}

}  // namespace boxlite::cli

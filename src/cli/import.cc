// boxlite import: an image from the tar of a root file system.
#include <fcntl.h>
#include <unistd.h>

#include "base/sys.h"
#include "cli/flag_set.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/user_path.h"

namespace boxlite::cli {

Result<int> verb_import(Invocation& invocation) {
  FlagSet flags(invocation, "import", "[OPTIONS] FILE|- [NAME[:TAG]]",
                "Make an image of the tar of a root file system, compressed or not");
  ImportOptions options;
  flags.list("-c,--change", "INSTRUCTION", options.changes,
             "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR as in a Dockerfile");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->empty() || operands->size() > 2) return flags.usage_error("import takes a FILE (or -) and perhaps a NAME");
  const std::string& source = operands->front();
  if (operands->size() == 2) options.reference = operands->at(1);
  const bool from_stdin = source == "-";
  if (from_stdin && is_terminal(STDIN_FILENO)) return flags.usage_error("standard input is a terminal; redirect it");

  UniqueFd file;
  if (!from_stdin) {
    TRY_ASSIGN(file, check_path(sys::open(source, O_RDONLY)));
  }
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(const ImageInfo image, runtime.import_root(from_stdin ? STDIN_FILENO : file.get(),
                                                        from_stdin ? std::string("standard input") : source, options));
  TRY(print(image.id + "\n"));
  return 0;
}

}  // namespace boxlite::cli

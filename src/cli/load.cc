// boxlite load: the images of an archive.
#include <fcntl.h>
#include <unistd.h>

#include "base/sys.h"
#include "cli/flag_set.h"
#include "cli/format.h"
#include "cli/image_name.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/user_path.h"

namespace boxlite::cli {

Result<int> verb_load(Invocation& invocation) {
  FlagSet flags(invocation, "load", "[OPTIONS]",
                "Take the images of an archive (docker save, OCI image layout), compressed or not");
  std::optional<std::string> input;
  bool quiet = false;
  flags.value("-i,--input", "FILE", input, "Read the archive from a file instead of standard input");
  flags.flag("-q,--quiet", quiet, "Print nothing");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (!operands->empty()) return flags.usage_error(fmt::format("load takes no operand, got {}", operands->front()));
  if (!input && is_terminal(STDIN_FILENO)) return flags.usage_error("standard input is a terminal; use -i FILE, or redirect it");

  UniqueFd file;
  if (input) {
    TRY_ASSIGN(file, check_path(sys::open(*input, O_RDONLY)));
  }
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(const std::vector<ImageInfo> images,
             runtime.load(input ? file.get() : STDIN_FILENO, input.value_or("standard input")));
  for (const ImageInfo& image : images) {
    if (quiet) break;
    TRY(print(has_name(image) ? fmt::format("Loaded image: {}\n", one_line(familiar_reference(image.reference)))
                              : fmt::format("Loaded image ID: {}\n", image.id)));
  }
  return 0;
}

}  // namespace boxlite::cli

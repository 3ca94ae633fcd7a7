// boxlite gc: remove what nothing refers to, and report the space.
#include "cli/flag_set.h"
#include "cli/format.h"
#include "cli/output.h"

namespace boxlite::cli {

Result<int> verb_gc(Invocation& invocation) {
  FlagSet flags(invocation, "gc", "[OPTIONS]", "Remove what nothing refers to: what killed commands left, files of no image");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (!operands->empty()) return flags.usage_error(fmt::format("gc takes no operand, got {}", operands->front()));
  TRY_ASSIGN(Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(const std::uint64_t reclaimed, runtime.collect_garbage());
  TRY(print(fmt::format("Total reclaimed space: {}\n", human_size(reclaimed))));
  return 0;
}

}  // namespace boxlite::cli

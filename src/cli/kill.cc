// boxlite kill: a signal to the main command.
#include <csignal>

#include "cli/each_box.h"
#include "cli/values.h"

namespace boxlite::cli {

Result<int> verb_kill(Invocation& invocation) {
  FlagSet flags(invocation, "kill", "[OPTIONS] BOX [BOX...]", "Send a signal to the main command of running boxes");
  std::optional<std::string> name;
  flags.value("-s,--signal", "SIGNAL", name, "The signal, by name or number (default KILL)");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  TRY(require_boxes(flags, *operands));
  TRY_ASSIGN(const int signal, parse_signal("--signal", name.value_or("KILL")));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  return for_all_boxes(runtime, *operands, [signal](Box& box) { return box.kill(signal); });
}

}  // namespace boxlite::cli

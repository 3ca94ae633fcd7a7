// boxlite exec: one more command in a running box.
#include "cli/box_flags.h"
#include "cli/foreground.h"
#include "cli/values.h"

namespace boxlite::cli {

Result<int> verb_exec(Invocation& invocation) {
  FlagSet flags(invocation, "exec", "[OPTIONS] BOX COMMAND [ARG...]", "Run a command in a running box");
  ExecOptions options;
  std::vector<std::string> env;
  std::optional<std::string> working_dir;
  std::optional<std::string> user;
  flags.flag("-i,--interactive", options.open_stdin, "Keep the command's standard input open");
  flags.flag("-t,--tty", options.tty, "Give the command a terminal");
  flags.list("-e,--env", "NAME[=VALUE]", env, "Set a variable; without =VALUE it is taken from here");
  flags.value("-w,--workdir", "DIR", working_dir, "Working directory (default: the box's)");
  flags.value("-u,--user", "USER[:GROUP]", user, "User, names or numbers (default: the box's)");
  TRY_ASSIGN(auto operands, flags.parse(invocation.arguments, Operands::kEndFlags));
  if (!operands) return 0;
  if (operands->empty() || operands->front().empty()) return flags.usage_error("no BOX was given");
  const std::string reference = operands->front();
  options.command = command_after_separator({operands->begin() + 1, operands->end()});
  if (options.command.empty()) return flags.usage_error("no COMMAND was given");
  TRY_ASSIGN(options.env, resolve_environment("--env", env));
  options.working_dir = working_dir.value_or("");
  options.user = user.value_or("");
  TRY(check_terminal_input(options.open_stdin, options.tty));

  TRY_ASSIGN(const Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(Box box, runtime.get(reference));
  return exec_in_foreground(box, std::move(options));
}

}  // namespace boxlite::cli

// boxlite exec: one more command in a running box.
#include "cli/box_flags.h"
#include "cli/env_file.h"
#include "cli/foreground.h"
#include "cli/output.h"
#include "cli/values.h"

namespace boxlite::cli {

Result<int> verb_exec(Invocation& invocation) {
  FlagSet flags(invocation, "exec", "[OPTIONS] BOX COMMAND [ARG...]", "Run a command in a running box");
  ExecOptions options;
  TerminalFlags terminal;
  bool detach = false;
  std::vector<std::string> env;
  std::vector<std::string> env_files;
  std::optional<std::string> timeout;
  std::optional<std::string> working_dir;
  std::optional<std::string> user;
  flags.flag("-d,--detach", detach, "Leave the command running, print its session id for attach and return");
  flags.flag("-i,--interactive", options.open_stdin, "Keep the command's standard input open");
  flags.flag("-t,--tty", options.tty, "Give the command a terminal");
  flags.list("-e,--env", "NAME[=VALUE]", env, "Set a variable; without =VALUE it is taken from here");
  flags.list("--env-file", "FILE", env_files, "Set variables from lines NAME[=VALUE]; --env overrides them");
  flags.value("-w,--workdir", "DIR", working_dir, "Working directory (default: the box's)");
  flags.value("-u,--user", "USER[:GROUP]", user, "User, names or numbers (default: the box's)");
  flags.value("--timeout", "SECONDS", timeout, "End the command with all its processes after that, with status 124");
  terminal.add_to(flags);
  TRY_ASSIGN(auto operands, flags.parse(invocation.arguments, Operands::kEndFlags));
  if (!operands) return 0;
  if (operands->empty() || operands->front().empty()) return flags.usage_error("no BOX was given");
  const std::string reference = operands->front();
  options.command = command_after_separator({operands->begin() + 1, operands->end()});
  if (options.command.empty()) return flags.usage_error("no COMMAND was given");
  TRY_ASSIGN(options.env, read_environment(env_files, env));
  options.working_dir = working_dir.value_or("");
  options.user = user.value_or("");
  if (timeout) {
    TRY_ASSIGN(options.timeout, parse_seconds("--timeout", *timeout));
  }
  TRY_ASSIGN(const Foreground foreground, terminal.foreground());
  if (!detach) TRY(check_terminal_input(options.open_stdin, options.tty));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(Box box, runtime.get(reference));
  if (!detach) return exec_in_foreground(box, std::move(options), foreground);
  TRY_ASSIGN(const Execution session, box.exec(options));
  TRY(print(session.session_id() + "\n"));
  return 0;
}

}  // namespace boxlite::cli

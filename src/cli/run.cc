// boxlite run: create, start, and unless detached stay with the main command.
#include "cli/box_flags.h"
#include "cli/cid_file.h"
#include "cli/foreground.h"
#include "cli/output.h"
#include "cli/pull_flags.h"

namespace boxlite::cli {

Result<int> verb_run(Invocation& invocation) {
  FlagSet flags(invocation, "run", "[OPTIONS] IMAGE [COMMAND [ARG...]]", "Create a box from an image and run a command in it");
  BoxFlags box_flags;
  TerminalFlags terminal;
  bool detach = false;
  flags.flag("-d,--detach", detach, "Leave the box running, print its id and return");
  box_flags.add_to(flags);
  std::optional<std::string> cid_path;
  bool timed = false;
  flags.flag("--timing", timed, "Print where the time went, on standard error");
  flags.value("--cidfile", "FILE", cid_path, "Write the id of the box to a new file");
  PullFlags pull_flags;
  pull_flags.add_policy_to(flags);
  terminal.add_to(flags);
  terminal.add_sig_proxy_to(flags);
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kEndFlags));
  if (!operands) return 0;
  TRY_ASSIGN(const BoxOptions options, box_flags.options(flags, *operands));
  TRY_ASSIGN(const PullOptions pull, pull_flags.options());
  TRY_ASSIGN(const Foreground foreground, terminal.foreground());
  if (!detach) TRY(check_terminal_input(options.open_stdin, options.tty));

  Timing timing(timed);
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(CidFile cid_file, CidFile::create(cid_path));
  TRY_ASSIGN(Box box, runtime.create(options, pull));
  TRY(cid_file.keep(box));
  timing.note("box is made");
  if (!detach) {
    const Result<int> status = run_in_foreground(box, options, foreground, timing);
    if (options.auto_remove) timing.note("box is removed");
    timing.print();
    return status;
  }

  StartOptions start;
  if (timed) start.on_step = [&timing](const StartStep& step) { timing.add(step); };
  const auto started = box.start(start);
  timing.print();
  if (!started) {
    if (options.auto_remove) (void)box.remove(true);
    return std::unexpected(started.error());
  }
  TRY(print(box.id() + "\n"));
  return 0;
}

}  // namespace boxlite::cli

// boxlite attach: this terminal becomes a view of a command that runs, or has ended, in a box.
#include "cli/foreground.h"

namespace boxlite::cli {

Result<int> verb_attach(Invocation& invocation) {
  FlagSet flags(invocation, "attach", "[OPTIONS] BOX [SESSION]",
                "Connect to a box's main command, or to one of exec by its session id; begins with the output that is kept");
  TerminalFlags terminal;
  bool no_stdin = false;
  flags.flag("--no-stdin", no_stdin, "Send no input");
  terminal.add_to(flags);
  terminal.add_sig_proxy_to(flags);
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->empty() || operands->front().empty()) return flags.usage_error("no BOX was given");
  if (operands->size() > 2) return flags.usage_error("attach takes a BOX and a SESSION, got " + operands->at(2));
  TRY_ASSIGN(const Foreground foreground, terminal.foreground());
  AttachOptions options;
  options.input = !no_stdin;
  if (operands->size() == 2) options.session_id = operands->at(1);

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(Box box, runtime.get(operands->front()));
  return attach_in_foreground(box, options, foreground);
}

}  // namespace boxlite::cli

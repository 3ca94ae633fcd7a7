// Connects a session in a box with our standard input, output and error, until the command ends.
//
// Theory of operation. One thread, one poll loop over four descriptors: signals, the session, standard input, and the output that
// a piece waits for. What must hold:
//  - Standard descriptors are shared with whoever started us (a shell, a build): they are never made non-blocking. A read or
//    write is only done after poll has promised that it will not block, and a pipe or terminal gets at most PIPE_BUF bytes for
//    one promise.
//  - A slow reader of our output stops only this command: while a piece of output waits, no more is taken from the session. Input
//    and signals go on meanwhile, so a command whose output nobody reads can still be interrupted.
//  - Input that the command does not read stays with us, and standard input is not read further: `yes | boxlite exec -i …` needs
//    no memory.
//  - Output and exit come in the session's order; the exit is last, so nothing is lost when a command prints and ends.
// Signals: without a terminal in the box they are passed on to the command. With one, keys make the signals there, and a signal
// for us is for us alone (docker's rule).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "boxlite/execution.h"
#include "cli/signal_watch.h"
#include "cli/terminal.h"

namespace boxlite::cli {

struct PumpOptions {
  bool input = false;                     // our standard input is the command's
  bool tty = false;                       // the command has a terminal
  std::optional<WindowSize> window = {};  // what that terminal was given
  bool pass_signals = true;               // false: a signal for us is for us alone, also without a terminal
  std::string detach_keys = {};           // "": none
  bool replay = false;                    // it begins with output from before: ReplayFilter, if both sides are terminals
};

/// Our output cannot be written any more: its reader went away (code kUnavailable), the disk is full, …
struct OutputLost {
  Error error;
};
/// A signal ended our part; the command may go on.
struct Interrupted {
  int signal = 0;
  bool unanswered = false;  // the box did not take it
};
/// The detach keys were typed; the command goes on.
struct Detached {};
using PumpEnd = std::variant<ExitInfo, OutputLost, Interrupted, Detached>;

/// The signals the pump handles. Made before the command is started, so that none is lost between.
Result<SignalWatch> watch_session_signals();

/// A box that does not answer holds up nothing for longer than kAnswerPatience; a call that waits for it keeps its share of the
/// session. An Error is the session's: kUnavailable when the box went away before the command's exit was seen.
Result<PumpEnd> pump_session(const std::shared_ptr<Execution>& session, SignalWatch& signals, const PumpOptions& options);

}  // namespace boxlite::cli

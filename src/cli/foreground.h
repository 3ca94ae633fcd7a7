// Running a box's main command, or one more command in it, in the foreground of this terminal.
#pragma once

#include <optional>
#include <string>

#include "boxlite/box.h"
#include "boxlite/box_options.h"
#include "cli/flag_set.h"
#include "cli/session_pump.h"
#include "cli/timing.h"

namespace boxlite::cli {

/// How this terminal is connected to the command.
struct Foreground {
  std::string detach_keys;   // as bytes
  bool pass_signals = true;  // to the command, when it has no terminal
};

/// The flags for it, of run, exec and attach.
class TerminalFlags {
 public:
  void add_to(FlagSet& flags);
  void add_sig_proxy_to(FlagSet& flags);
  Result<Foreground> foreground() const;

 private:
  std::optional<std::string> detach_keys_;
  bool sig_proxy_ = true;
};

/// Starts the box and stays until its main command has ended and the box is down; the command's exit status. 0 when the user
/// detached. `timing` gets the steps.
Result<int> run_in_foreground(Box& box, const BoxOptions& options, const Foreground& foreground, Timing& timing);

/// Runs one more command in the box and stays until it has ended; its exit status.
Result<int> exec_in_foreground(Box& box, ExecOptions options, const Foreground& foreground);

/// Stays with a command that was started before until it has ended; its exit status.
Result<int> attach_in_foreground(Box& box, const AttachOptions& options, const Foreground& foreground);

}  // namespace boxlite::cli

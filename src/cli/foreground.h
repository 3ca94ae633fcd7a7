// Running a box's main command, or one more command in it, in the foreground of this terminal.
#pragma once

#include "boxlite/box.h"
#include "cli/session_pump.h"

namespace boxlite::cli {

/// Starts the box and stays until its main command has ended and the box is down; the command's exit status.
Result<int> run_in_foreground(Box& box, const BoxOptions& options);

/// Runs one more command in the box and stays until it has ended; its exit status.
Result<int> exec_in_foreground(Box& box, ExecOptions options);

}  // namespace boxlite::cli

// A start in the foreground that a signal can end: whoever presses Ctrl-C while a box boots wants no box left running behind him.
#pragma once

#include <optional>

#include "boxlite/box.h"
#include "cli/signal_watch.h"

namespace boxlite::cli {

struct StartOutcome {
  Result<std::optional<Execution>> started;
  int interrupted_by = 0;  // the signal, when there was one; the box does not run then, or is about to end
};

/// The start runs in a thread of its own. The first signal that asks to end stops the box; the second ends this process at once.
Result<StartOutcome> start_interruptibly(Box& box, const StartOptions& options, SignalWatch& signals);

}  // namespace boxlite::cli

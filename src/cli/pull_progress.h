// How far a pull is, on standard error, for people.
#pragma once

#include <functional>

#include "boxlite/runtime.h"

namespace boxlite::cli {

using ProgressSink = std::function<void(const PullProgress&)>;

/// For a terminal: a line for each layer that is here, and below them bars of what is coming, drawn over again and again.
ProgressSink live_progress();

/// For anything else: a line for each layer that is here, and for the disk when it is made.
ProgressSink plain_progress();

}  // namespace boxlite::cli

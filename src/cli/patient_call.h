// Calls to a box that may not answer: the library waits a minute for a guest that stands still, a user with Ctrl-C does not.
//
// A call cannot be taken back: a box that goes on later may still do what it was asked.
#pragma once

#include <chrono>
#include <functional>
#include <string_view>

#include "base/result.h"
#include "cli/signal_watch.h"

namespace boxlite::cli {

/// How long a box may take to answer a call that holds up everything else.
inline constexpr std::chrono::milliseconds kAnswerPatience = std::chrono::seconds(2);

/// SIGINT, SIGTERM, SIGHUP and SIGQUIT.
bool asks_to_end(int signal);

/// Makes the call in a thread of its own. kUnavailable when it is not answered in time; its thread then stays behind, so the call
/// has to own what it uses.
Result<void> call_within(std::chrono::milliseconds patience, std::function<Result<void>()> call);

/// Makes the call in a thread of its own and returns when it is done. A signal that asks to end gives the box another second to
/// answer, since a signal can be passed on to a command that has started. Without an answer, or with a second signal, it prints
/// `farewell` and ends this process with 128 + the signal. All other signals are in `signals` when this returns.
void call_or_leave(SignalWatch& signals, std::string_view farewell, const std::function<void()>& call);

}  // namespace boxlite::cli

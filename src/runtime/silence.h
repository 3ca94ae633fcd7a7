// One rule for all calls to a box: when its processes are alive and silent, that is told at once or soon, where waiting for a
// reply would take its long deadline.
#pragma once

#include "base/result.h"
#include "runtime/context.h"

namespace boxlite {

/// kUnavailable, with the next step, when the box's shim does not answer within ten seconds, or at once when the shim or QEMU has
/// been stopped (SIGSTOP); kInvalidState when the box is paused. Nothing is said of a box that does not run: the call that
/// follows tells that. When `interrupt_fd` (-1: none) becomes readable it ends, with kUnavailable.
Result<void> refuse_silent(const Context& context, const BoxRow& row, int interrupt_fd = -1);

/// The part of it that waits for nothing.
Result<void> refuse_stopped(const Context& context, const BoxRow& row);

}  // namespace boxlite

// What a failed call to a box comes to, said with the box's name and the next step.
#pragma once

#include "base/result.h"
#include "runtime/context.h"

namespace boxlite {

/// `error` is of a call to the box's shim or agent. When the box does not run, or not any more, that is the better thing to say;
/// a command that is changing it at the moment is waited for first.
Error explain_failure(const Context& context, const BoxRow& row, const Error& error);

/// kNotFound. An id may be all that the place where it was noticed knew.
Error removed_error(std::string_view name);

/// kInvalidState.
Error paused_error(std::string_view name);

/// The call did not get through to a command that runs: how the box is may explain that.
inline bool depends_on_state(const Error& error) {
  return error.code() == ErrorCode::kUnavailable || error.code() == ErrorCode::kInvalidState;
}

}  // namespace boxlite

#include "runtime/box_error.h"

#include "runtime/lease.h"
#include "runtime/observe.h"
#include "runtime/silence.h"

namespace boxlite {
namespace {

constexpr auto kChangePatience = std::chrono::seconds(10);

Error invalid(std::string message) { return Error(ErrorCode::kInvalidState, std::move(message)); }

Error ending(const BoxRow& row) {
  if (row.auto_remove)
    return invalid(fmt::format("box {} is ending, and will be removed; `boxlite run` makes a new one", row.name));
  return invalid(fmt::format("box {} is ending; start it again: boxlite start {}", row.name, row.name));
}

}  // namespace

Error removed_error(std::string_view name) {
  return Error(ErrorCode::kNotFound, fmt::format("box {} was removed; `boxlite ls -a` lists those that are here", name));
}

Error paused_error(std::string_view name) {
  return invalid(fmt::format("box {} is paused; let it go on: boxlite unpause {}", name, name));
}

Error explain_failure(const Context& context, const BoxRow& row, const Error& error) {
  Error named = error.context("box " + row.name);
  if (!depends_on_state(error)) return named;
  const auto now = context.database.box(row.id);
  if (!now) return named;
  if (!*now) return removed_error(row.name);
  auto seen = observe(context.paths, context.database, **now);
  if (seen && seen->op_lock_held) {
    // What broke the call may be half of a removal or a start: its end tells what has become of the box.
    auto locked = OpLock::acquire(context.paths, context.database, row.id, kChangePatience);
    if (!locked) return locked.error().code() == ErrorCode::kNotFound ? removed_error(row.name) : named;
    locked->lock.release();
    seen = observe(context.paths, context.database, locked->row);
  }
  if (!seen) return named;
  if (seen->row.remove_intent)
    return Error(ErrorCode::kNotFound, fmt::format("box {} is being removed; `boxlite ls -a` lists those that stay", row.name));
  switch (derive_status(*seen).status) {
    case BoxStatus::kCreated:
    case BoxStatus::kStopped:
    case BoxStatus::kFailed:
      return invalid(fmt::format("box {} is not running; start it: boxlite start {}", row.name, row.name));
    case BoxStatus::kSuspended:
      return invalid(fmt::format("box {} is paused to disk; start it: boxlite start {}", row.name, row.name));
    case BoxStatus::kStopping:
      return ending(row);
    case BoxStatus::kStarting:
      return invalid(fmt::format("box {} is only just starting; try again when `boxlite ls` says that it is up", row.name));
    case BoxStatus::kRunning:
      // The agent knows that the main command has ended before the shim does.
      if (error.code() == ErrorCode::kInvalidState) return ending(row);
      break;
    case BoxStatus::kPaused:
      return paused_error(row.name);
    case BoxStatus::kUnresponsive:
      break;
  }
  // It may have been stopped while the call waited.
  if (auto stopped = refuse_stopped(context, seen->row); !stopped) return std::move(stopped).error();
  return named.advice(fmt::format("if that goes on, end it: boxlite rm -f {}", row.name));
}

}  // namespace boxlite

#include "runtime/box_error.h"

#include "runtime/observe.h"

namespace boxlite {
namespace {

Error invalid(std::string message) { return Error(ErrorCode::kInvalidState, std::move(message)); }

Error ending(const BoxRow& row) {
  if (row.auto_remove)
    return invalid(fmt::format("box {} is ending, and will be removed; `boxlite run` makes a new one", row.name));
  return invalid(fmt::format("box {} is ending; start it again: boxlite start {}", row.name, row.name));
}

}  // namespace

Error explain_failure(const Context& context, const BoxRow& row, const Error& error) {
  Error named = error.context("box " + row.name);
  if (!depends_on_state(error)) return named;
  const auto now = context.database.box(row.id);
  if (!now) return named;
  if (!*now)
    return Error(ErrorCode::kNotFound, fmt::format("box {} was removed; `boxlite ls -a` lists those that are here", row.name));
  const auto seen = observe(context.paths, context.database, **now);
  if (!seen) return named;
  switch (derive_status(*seen).status) {
    case BoxStatus::kCreated:
    case BoxStatus::kStopped:
    case BoxStatus::kFailed:
      return invalid(fmt::format("box {} is not running; start it: boxlite start {}", row.name, row.name));
    case BoxStatus::kStopping:
      return ending(row);
    case BoxStatus::kStarting:
      return invalid(fmt::format("box {} is only just starting; try again when `boxlite ls` says that it is up", row.name));
    case BoxStatus::kRunning:
      // The agent knows that the main command has ended before the shim does.
      return error.code() == ErrorCode::kInvalidState ? ending(row) : named;
    case BoxStatus::kUnresponsive:
      break;
  }
  return named;
}

}  // namespace boxlite

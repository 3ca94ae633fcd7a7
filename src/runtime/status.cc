// The table of DESIGN §3. Order matters in two places.
//
// What is seen must be collected row → operation lock → lease → files: a start holds the operation lock from before it writes its
// intent until its shim holds the lease, so a free operation lock seen *before* a free lease means that the start of this row is
// over, whatever became of it. The other way round a shim could take the lease, and the starter drop the lock, between the two
// looks.
//
// And among the answers for a free lease the exit record comes first: it is written before the lease is released, so if there is
// one for this start nothing else needs to be known.
#include "runtime/status.h"

namespace boxlite {
namespace {

DerivedStatus while_held(const Observation& seen) {
  if (seen.shim_silent) {
    return {BoxStatus::kUnresponsive,
            fmt::format("its shim{} is alive and does not answer; `boxlite rm -f {}` ends it",
                        seen.lease.record ? fmt::format(" (pid {})", seen.lease.record->pid) : "", seen.row.name),
            std::nullopt};
  }
  if (seen.row.remove_intent) return {BoxStatus::kStopping, "being removed", std::nullopt};
  // A state of an earlier start: this one's shim has only just begun.
  if (!seen.state || seen.state->generation < seen.row.generation) return {BoxStatus::kStarting, "", std::nullopt};
  switch (seen.state->phase) {
    case Phase::kStarting:
      return {BoxStatus::kStarting, "", std::nullopt};
    case Phase::kRunning:
      if (seen.paused_by_user) return {BoxStatus::kPaused, "", std::nullopt};
      return {BoxStatus::kRunning, seen.paused.empty() ? "" : "paused: " + seen.paused, std::nullopt};
    case Phase::kStopping:
      return {BoxStatus::kStopping, "", std::nullopt};
  }
  return {};
}

bool exited(const Observation& seen) {
  return seen.exit && seen.row.generation > 0 && seen.exit->generation >= seen.row.generation;
}

bool rebooted(const Observation& seen) { return seen.row.start && seen.row.start->boot_id != seen.boot_id; }

bool shim_had_begun(const Observation& seen) { return seen.lease.record && seen.lease.record->generation >= seen.row.generation; }

DerivedStatus after_exit(const ExitRecord& exit) {
  if (exit.failed) return {BoxStatus::kFailed, exit.reason, std::nullopt};
  return {BoxStatus::kStopped, exit.reason, exit.code};
}

}  // namespace

std::string_view name(BoxStatus status) {
  switch (status) {
    case BoxStatus::kCreated:
      return "created";
    case BoxStatus::kStarting:
      return "starting";
    case BoxStatus::kRunning:
      return "running";
    case BoxStatus::kPaused:
      return "paused";
    case BoxStatus::kStopping:
      return "stopping";
    case BoxStatus::kStopped:
      return "stopped";
    case BoxStatus::kSuspended:
      return "suspended";
    case BoxStatus::kFailed:
      return "failed";
    case BoxStatus::kUnresponsive:
      return "unresponsive";
  }
  return "unknown";
}

DerivedStatus derive_status(const Observation& seen) {
  if (seen.lease.held) return while_held(seen);
  if (seen.row.remove_intent) {
    if (seen.op_lock_held) return {BoxStatus::kStopping, "being removed", std::nullopt};
    return {BoxStatus::kFailed, fmt::format("its removal was interrupted; `boxlite rm {}` finishes it", seen.row.name),
            std::nullopt};
  }
  if (seen.checkpoint) {
    const bool failed = exited(seen) && seen.exit->failed;
    return {BoxStatus::kSuspended, failed ? "its last start has failed: " + seen.exit->reason : "", std::nullopt};
  }
  if (seen.row.generation == 0) return {BoxStatus::kCreated, "", std::nullopt};
  if (exited(seen)) return after_exit(*seen.exit);
  if (rebooted(seen)) return {BoxStatus::kStopped, "the host was rebooted", std::nullopt};
  if (shim_had_begun(seen)) {
    return {BoxStatus::kFailed,
            fmt::format("crashed: its shim (pid {}) ended without a word{}", seen.lease.record->pid,
                        seen.last_words.empty() ? "" : "; " + seen.last_words),
            std::nullopt};
  }
  if (seen.op_lock_held) return {BoxStatus::kStarting, "", std::nullopt};
  return {BoxStatus::kFailed, "its start was interrupted", std::nullopt};
}

bool rests_on_absence(const Observation& seen) {
  return !seen.lease.held && !seen.checkpoint && seen.row.generation > 0 && !seen.row.remove_intent && !exited(seen) &&
         !rebooted(seen);
}

}  // namespace boxlite

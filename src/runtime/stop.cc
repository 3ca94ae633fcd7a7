// A stop is the shim's work (signal, grace, SIGKILL, sync, power-off) and goes on in it whatever becomes of the caller; the
// caller asks for it and waits for the shim's end on a pidfd, holding no lock, so that `kill` and `rm -f` can overtake it. Only a
// shim that does not answer is ended from outside, under the operation lock and with the reason written.
#include "runtime/stop.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/failpoint.h"
#include "base/process.h"
#include "base/sys.h"
#include "runtime/box_config.h"
#include "runtime/box_error.h"
#include "runtime/capture.h"
#include "runtime/control.h"
#include "runtime/exit_record.h"
#include "runtime/lease.h"
#include "runtime/observe.h"
#include "runtime/ping.h"
#include "runtime/session_client.h"
#include "runtime/shim_kill.h"
#include "runtime/silence.h"

namespace boxlite {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr auto kStopAnswerTimeout = std::chrono::seconds(2);
constexpr auto kUnpauseTimeout = std::chrono::seconds(10);
constexpr auto kSlack = std::chrono::seconds(5);  // beyond the grace, for sync and power-off
constexpr auto kRetryPause = milliseconds(100);   // a shim that is only just starting does not listen yet

milliseconds until(Clock::time_point deadline) {
  return std::max(std::chrono::ceil<milliseconds>(deadline - Clock::now()), milliseconds(0));
}

enum class Request { kTaken, kUnheard, kEnded };

// Asks until the shim has taken the request, has ended, or the deadline has passed.
Result<Request> request_stop(const Context& context, const BoxRow& row, std::chrono::seconds grace, AutoRemoval removal, int shim,
                             Clock::time_point deadline) {
  const Json call = {{"call", "stop"},
                     {"grace_ms", std::chrono::duration_cast<milliseconds>(grace).count()},
                     {"keep", removal == AutoRemoval::kNotThisTime}};
  while (Clock::now() < deadline) {
    const auto asked = control_call(context.paths.box(row.id), call, std::min<milliseconds>(kStopAnswerTimeout, until(deadline)));
    if (asked) return Request::kTaken;
    if (asked.error().code() != ErrorCode::kUnavailable) return std::unexpected(asked.error());
    TRY_ASSIGN(const bool ended, wait_process_end(shim, std::min<milliseconds>(kRetryPause, until(deadline))));
    if (ended) return Request::kEnded;
  }
  return Request::kUnheard;
}

Result<void> ask_shim(const Context& context, const BoxRow& row, std::string_view call, milliseconds timeout) {
  auto asked = control_call(context.paths.box(row.id), {{"call", call}}, timeout);
  if (asked) return {};
  // What it refuses it gives the reason for.
  if (asked.error().code() == ErrorCode::kInvalidState) return std::unexpected(asked.error().context("box " + row.name));
  return std::unexpected(explain_failure(context, row, asked.error()));
}

// Whether a shim that has not ended yet is worth waiting for: one that answers is at work; one that does not listen any more
// writes down how it ended, and gets time for it once.
bool is_ending(const Context& context, const BoxRow& row, bool& refused) {
  const PingResult result = ping_shims({context.paths.box(row.id)}, Clock::now() + kStopAnswerTimeout).front().result;
  return result == PingResult::kAnswered || (result == PingResult::kRefused && !std::exchange(refused, true));
}

// True when the shim has ended by itself; false when it is time to end it.
Result<bool> stop_shim(const Context& context, const BoxRow& row, std::chrono::seconds grace, AutoRemoval removal, int shim) {
  Request request = Request::kUnheard;
  for (bool refused = false;;) {
    auto deadline = Clock::now() + kSlack;
    if (request == Request::kUnheard) {
      deadline += grace;
      TRY_ASSIGN(request, request_stop(context, row, grace, removal, shim, deadline));
      FAILPOINT("stop.asked");
    }
    TRY_ASSIGN(const bool ended, wait_process_end(shim, until(deadline)));
    if (ended) return true;
    if (!is_ending(context, row, refused)) return false;
  }
}

Result<void> end_silent_shim(Context& context, const BoxRow& row, int shim) {
  auto locked = OpLock::acquire(context.paths, context.database, row.id);
  if (!locked) return std::unexpected(locked.error());
  // Another command may have ended it, and even started the box again, while the lock was waited for.
  TRY_ASSIGN(const bool ended, wait_process_end(shim, milliseconds(0)));
  if (ended) return {};
  TRY(kill_shim(context.paths, row.id));
  TRY_ASSIGN(const bool free, locked->lock.take_lease());
  if (!free)
    return fail(ErrorCode::kUnavailable, "another shim took over box {} while it was being stopped; try again", row.name);
  FAILPOINT("stop.killed");
  return write_exit_record(context.paths, row.id,
                           killed_record(locked->row.generation, "killed by stop: its shim did not answer"));
}

// What a box's end was, also when the box is gone by then. By descriptors: the record is found in the trash too, and of a box
// that is gone altogether in what its shim has left in the lease.
class ExitWatch {
 public:
  ExitWatch(const HomePaths& paths, const std::string& id) {
    if (auto opened = sys::open(paths.lease(id), O_RDONLY | O_NOFOLLOW)) lease_ = std::move(*opened);
    if (auto opened = sys::open(paths.box(id), O_RDONLY | O_DIRECTORY)) directory_ = std::move(*opened);
  }

  /// Waits until somebody else has written the record, or for so long. Its end is dear: the kernel waits for some milliseconds
  /// when a directory that was watched is gone (fsnotify_wait_marks_destroyed), so nothing is watched that can be waited for
  /// otherwise.
  Result<void> wait_for_record(std::uint64_t generation, milliseconds most) const {
    UniqueFd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    const std::string directory = fmt::format("/proc/self/fd/{}", directory_.get());
    // Without inotify (its instances are limited) it takes so long.
    if (inotify && ::inotify_add_watch(inotify.get(), directory.c_str(), IN_MOVED_TO) < 0) inotify.reset();
    if (record(generation)) return {};
    TRY(sys::poll_one(inotify.get(), POLLIN, most));
    return {};
  }

  std::optional<ExitRecord> record(std::uint64_t generation) const {
    if (!directory_) return std::nullopt;
    auto found = read_exit_record(fmt::format("/proc/self/fd/{}/exit.json", directory_.get()));
    if ((!found || found->generation < generation) && lease_)
      found = read_left_record(fmt::format("/proc/self/fd/{}", lease_.get()));
    if (found && found->generation < generation) return std::nullopt;
    return found;
  }

 private:
  UniqueFd lease_;
  UniqueFd directory_;
};

Error suspended_error(const std::string& name) {
  return Error(ErrorCode::kInvalidState,
               fmt::format("box {} is paused to disk, so its command has not ended; it goes on: boxlite start {}", name, name));
}

Result<int> exit_code_of(const BoxRow& row, const ExitRecord& record) {
  if (record.suspended) return std::unexpected(suspended_error(row.name));
  if (record.failed)
    return fail(ErrorCode::kInternal, "box {} failed: {}; try again: boxlite start {}", row.name, record.reason, row.name);
  return record.code;
}

Result<int> exit_code_now(const BoxRow& row, const DerivedStatus& derived) {
  if (derived.exit_code) return *derived.exit_code;
  if (derived.status == BoxStatus::kCreated) return 0;
  if (derived.status == BoxStatus::kSuspended) return std::unexpected(suspended_error(row.name));
  return fail(ErrorCode::kInternal, "box {} has no exit code: {}; try again: boxlite start {}", row.name, derived.reason,
              row.name);
}

}  // namespace

Result<void> stop_box(Context& context, const BoxRow& row, std::optional<std::chrono::seconds> asked, AutoRemoval removal) {
  TRY_ASSIGN(const std::optional<UniqueFd> shim, open_lease_holder(context.paths, row.id));
  if (!shim) return {};
  TRY_ASSIGN(const BoxConfig config, box_config_from_json(row.config));
  const auto grace = asked.value_or(std::chrono::seconds(config.options.stop_seconds.value_or(kDefaultStopSeconds)));
  TRY_ASSIGN(const bool ended, stop_shim(context, row, grace, removal, shim->get()));
  if (!ended) TRY(end_silent_shim(context, row, shim->get()));
  return {};
}

Result<void> pause_box(const Context& context, const BoxRow& row) {
  TRY(refuse_silent(context, row));
  return ask_shim(context, row, "pause", kAgentTimeout);  // QEMU writes its disk out before it stands still
}

Result<void> suspend_box(Context& context, const BoxRow& row) {
  TRY_ASSIGN(Capture capture, Capture::take(context, row, {.memory = true, .write_out = true}));
  TRY_ASSIGN(const std::optional<UniqueFd> shim, open_lease_holder(context.paths, row.id));
  TRY(capture.end());
  if (shim) TRY(wait_process_end(shim->get(), std::nullopt));
  return {};
}

Result<void> unpause_box(const Context& context, const BoxRow& row) {
  TRY(refuse_stopped(context, row));
  return ask_shim(context, row, "unpause", kUnpauseTimeout);
}

Result<void> signal_box(const Context& context, const BoxRow& row, int signal) {
  // What stands still cannot die: it goes on for that, as under docker. Whether it stood still does not matter.
  if (signal == SIGKILL) (void)control_call(context.paths.box(row.id), {{"call", "unpause"}}, kStopAnswerTimeout);
  TRY(refuse_silent(context, row));
  // The end of this run and no other: by then the box may have been started again. Who cannot be waited for is signalled all the
  // same.
  const auto shim = signal == SIGKILL ? open_lease_holder(context.paths, row.id) : std::nullopt;
  auto sent = control_call(context.paths.box(row.id), {{"call", "signal"}, {"signal", signal}}, kAgentTimeout);
  if (!sent) return std::unexpected(explain_failure(context, row, sent.error()));
  if (shim && *shim) TRY(wait_process_end((*shim)->get(), std::nullopt));
  return {};
}

Result<int> wait_box(const Context& context, const BoxRow& row) {
  BoxRow current = row;
  for (;;) {
    const ExitWatch watch(context.paths, row.id);
    TRY_ASSIGN(const std::optional<UniqueFd> shim, open_lease_holder(context.paths, row.id));
    if (shim) {
      TRY(wait_process_end(shim->get(), std::nullopt));
      if (const auto record = watch.record(current.generation)) return exit_code_of(row, *record);
    }
    TRY_ASSIGN(std::optional<BoxRow> now, context.database.box(row.id));
    if (!now) return std::unexpected(removed_error(row.name));
    current = std::move(*now);
    TRY_ASSIGN(const Observation seen, observe(context.paths, context.database, current));
    const DerivedStatus derived = derive_status(seen);
    if (seen.op_lock_held && (rests_on_absence(seen) || seen.row.remove_intent)) {
      // Whoever has ended it is about to write so, and may remove it then.
      TRY(watch.wait_for_record(current.generation, kStopAnswerTimeout));
      if (const auto record = watch.record(current.generation)) return exit_code_of(row, *record);
      continue;
    }
    if (!seen.lease.held && derived.status != BoxStatus::kStarting) return exit_code_now(row, derived);
    if (!shim) TRY(watch.wait_for_record(current.generation, milliseconds(20)));  // a start before its shim has the lease
  }
}

}  // namespace boxlite

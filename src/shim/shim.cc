// Theory of operation.
//
// One shim runs for each running box and owns everything the box uses: the lease that says it is alive, the VM, the socket
// that others reach it by, its logs and its records. It is nobody's child and has one thread, one event loop, and no state that
// must survive it: whatever becomes of it, the next command finds the truth in lease and records.
//
// A life is a line. Each arrow may fail, and every failure ends in the same place:
//
//   configuration ── the starter ended before all of it had come: exit silently
//        ▼
//      lease ─────── another start owns the box by now: exit, touch nothing
//        ▼
//   VM launched ▶ epoch answered ▶ Configure ▶ main command viewed ▶ (go) ▶ StartMain ▶ running
//        └───────────────┴─────────────┴────────────────┴──────────────┴─────────┴─────────┤
//                                                                                          ▼
//                                VM ended ▶ channels read to their end ▶ clients flushed ▶ exit record ▶
//                                (own box removed) ▶ lease released
//
// Invariants:
//  - The VM's end, seen on the jail's pidfd, is the only way from the middle to the end. A failure, a stop, an exit of the main
//    command: each only makes the VM end (stop_sequence.h) and is remembered for the record. So nothing is concluded while the
//    VM lives.
//  - The exit record is durable before the lease is released. What it says, in this order of belief: that the start failed; the
//    main command's exit, if the agent reported one; a failure; a stop; else the VM has ended unexpectedly.
//  - Nothing waits without a bound for something that belongs to another: the starter, a client, the guest. A hostile guest can
//    end its own box, and no more.
//  - The VM dies with this process by the lifeline and the pidfd that the jail watches, so no code here cleans up after a crash
//    of itself.
#include "shim/shim.h"

#include "base/failpoint.h"
#include "base/file.h"
#include "base/signal_name.h"
#include "base/sys.h"
#include "runtime/control.h"
#include "runtime/exit_record.h"
#include "runtime/network_usage.h"
#include "shim/log.h"

namespace boxlite::shim {
namespace {

constexpr auto kFlushPatience = std::chrono::seconds(10);
constexpr auto kClockSlack = std::chrono::milliseconds(200);
constexpr int kSigKill = 9;  // as the guest has them
constexpr int kSigTerm = 15;
constexpr int kMaxSignal = 64;
constexpr std::string_view kCaptured = "a checkpoint of it is being taken; wait for its end";
constexpr std::string_view kVolumesStay =
    "it has volumes, whose files are the host's: its memory cannot be kept without them; stop it, or take a snapshot of its disk "
    "alone";
constexpr std::chrono::milliseconds kMaxGrace = std::chrono::hours(24 * 365);

proto::Call signal_call(int number) {
  proto::Call call;
  call.mutable_signal()->set_session_id("main");
  call.mutable_signal()->set_signal(number);
  return call;
}

}  // namespace

Shim::Shim(ShimConfig config, UniqueFd starter)
    : config_(std::move(config)),
      paths_(config_.home),
      id_(config_.box_id),
      audit_(paths_, id_, config_.generation),
      starter_(loop_, std::move(starter)),
      stop_sequence_(loop_, stop_actions()),
      flush_timer_(loop_),
      image_deadline_(loop_) {}

Result<void> Shim::run() {
  if (auto leased = take_lease(); !leased) {
    starter_.report_failure(leased.error());
    return leased;
  }
  if (starter_.gone()) {
    // Between its end and our lease nothing said that this start was going on: others have been told that it has failed, and may
    // have begun something else. So it stays failed. A starter that is alive here has kept the operation lock until now.
    failure_ = Error(ErrorCode::kUnavailable, "its start was interrupted: the process that started it has ended");
    return conclude();
  }
  if (auto begun = begin(); begun) {
    loop_.run();
  } else {
    failure_ = begun.error();
  }
  return conclude();
}

Result<void> Shim::set_phase(Phase phase) {
  state_.phase = phase;
  // Volatile is enough: after a power loss the boot id says that the box does not run.
  return write_file_volatile(paths_.state(id_), dump_json(to_json(state_)) + "\n", 0600);
}

// Not told, it is taken for running a while longer.
void Shim::set_stopping() {
  if (const auto told = set_phase(Phase::kStopping); !told) log("{}", told.error().message());
}

// ---- While it runs

void Shim::on_control(const Json& call, const Answer& answer) {
  constexpr std::string_view what = "control call";
  const auto kind = json_get<std::string>(call, "call", what);
  if (!kind) return answer(error_answer(kind.error()));
  if (*kind == "ping") {
    Json pong = {{"ok", true}, {"paused", qmp_ ? qmp_->paused() : ""}, {"paused_by_user", qmp_ && qmp_->held()}};
    if (network_) pong["network"] = to_json(network_->usage());
    return answer(pong);
  }
  if (*kind == "stop") {
    const auto grace = json_get<std::uint64_t>(call, "grace_ms", what);
    if (!grace) return answer(error_answer(grace.error()));
    const auto keep = json_get_or<bool>(call, "keep", what, false);
    if (!keep) return answer(error_answer(keep.error()));
    if (*keep) config_.box.options.auto_remove = false;
    request_stop(std::chrono::milliseconds(std::min<std::uint64_t>(*grace, std::uint64_t{kMaxGrace.count()})), "");
    return answer({{"ok", true}});
  }
  if (*kind == "pause") return pause(answer);
  if (*kind == "unpause") {
    if (capture_) return answer(error_answer(Error(ErrorCode::kInvalidState, std::string(kCaptured))));
    if (!qmp_ || !qmp_->held() || over()) return answer(error_answer(Error(ErrorCode::kInvalidState, "it is not paused")));
    unpause();
    return answer({{"ok", true}});
  }
  if (*kind == "signal") {
    const auto number = json_get<int>(call, "signal", what);
    if (!number) return answer(error_answer(number.error()));
    return send_signal(*number, answer);
  }
  answer(error_answer(
      Error(ErrorCode::kUnsupported,
            fmt::format("it was started by an older boxlite, which does not know the call \"{}\"; stop it and start it again",
                        *kind))));
}

void Shim::send_signal(int number, const Answer& answer) {
  if (number < 1 || number > kMaxSignal) {
    return answer(error_answer(Error(ErrorCode::kInvalidArgument, fmt::format("{} is not a signal", number))));
  }
  if (!main_started_ || exited_ || over()) {
    return answer(error_answer(Error(ErrorCode::kInvalidState, "its command does not run")));
  }
  const auto told = [this, number, answer](const Result<proto::Reply>& reply) {
    if (number == kSigKill) killed_ = true;
    if (number == kSigKill && !vm_ended_) stop_sequence_.expect_end(StopSequence::kShutdownPatience);
    answer(reply ? Json({{"ok", true}}) : error_answer(reply.error()));
  };
  call_agent(*link_, signal_call(number), told, {}, kSpareStreams);
}

void Shim::pause(const Answer& answer) {
  if (!main_started_ || exited_ || over() || stop_requested_)
    return answer(error_answer(Error(ErrorCode::kInvalidState, "its command does not run")));
  if (capture_) return answer(error_answer(Error(ErrorCode::kInvalidState, std::string(kCaptured))));
  if (qmp_->held()) return answer(error_answer(Error(ErrorCode::kInvalidState, "it is paused already")));
  qmp_->hold([answer](const Result<void>& held) { answer(held ? Json({{"ok", true}}) : error_answer(held.error())); });
}

void Shim::unpause() {
  qmp_->let_go();
  // As after a host that was suspended: the guest's own clock has stood still.
  set_guest_clock();
}

void Shim::accept_client(UniqueFd client, std::string early) {
  const auto peer = peer_credentials(client.get());
  if (!peer) return;
  const auto bridge = std::make_shared<Bridge>(
      loop_, *link_, std::move(client),
      [this](Bridge* closed) {
        bridges_.erase(closed);
        if (vm_ended_) finish_if_flushed();
        expect_power_off();
      },
      [this, peer = *peer](const proto::Call& call) { audit_.called(call, peer); });
  // A client that comes before the agent answers, or after it has ended, sees its connection closed.
  if (bridge->begin(std::move(early))) bridges_.emplace(bridge.get(), bridge);
}

void Shim::accept_capture(UniqueFd client, std::string early) {
  const auto peer = peer_credentials(client.get());
  if (!peer) return;
  const auto refusal = [this]() -> std::string_view {
    if (!main_started_ || exited_ || over() || stop_requested_) return "its command does not run";
    if (capture_) return "another checkpoint of it is being taken";
    if (qmp_->held()) return "it is paused; unpause it first";
    return "";
  }();
  if (!refusal.empty()) return Capture::refuse(client.get(), Error(ErrorCode::kInvalidState, std::string(refusal)));
  audit_.captured(*peer);
  const auto capture = std::make_shared<Capture>(
      loop_,
      Capture::Box{.link = *link_,
                   .qmp = *qmp_,
                   .directory = paths_.box(id_),
                   .memory_mib = config_.vm.memory_mib,
                   .disk_below = config_.vm.layers.empty() ? "base" : fmt::format("layer{}", config_.vm.layers.size() - 1),
                   .output_read = [this] { return output_read_; },
                   .no_memory_reason = config_.box.mounts.empty() ? "" : std::string(kVolumesStay)},
      std::move(client),
      Capture::Events{.on_suspended = [this] { suspend(); },
                      .on_running_again = [this] { set_guest_clock(); },
                      .on_over = [this] { capture_.reset(); }});
  capture_ = capture;
  capture->begin(std::move(early));
}

void Shim::give_up_capture(const char* why) {
  if (const auto capture = capture_) capture->give_up(Error(ErrorCode::kUnavailable, why));
}

// What it was is on the disk: nothing of the VM may go on.
void Shim::suspend() {
  suspended_ = true;
  log("paused to disk");
  set_stopping();
  qmp_->quit();
  stop_sequence_.expect_end(StopSequence::kQuitPatience);
}

// What was on its way for long has set a time that is past.
void Shim::set_guest_clock(int attempts) {
  if (over()) return;
  proto::Call call;
  call.mutable_set_clock()->set_host_time_ns(wall_clock_ns());
  call_agent(*link_, call, [this, attempts, sent = std::chrono::steady_clock::now()](const Result<proto::Reply>& reply) {
    if (!reply) return log("set the guest's clock: {}", reply.error().message());
    if (std::chrono::steady_clock::now() - sent > kClockSlack && attempts > 1) set_guest_clock(attempts - 1);
  });
}

void Shim::on_output(OutputStream stream, std::uint64_t offset, std::string_view data) {
  output_read_.at(stream == OutputStream::kStderr ? 1 : 0) = offset + data.size();
  // A full disk costs log lines, not the box.
  (void)output_log_->append(stream, data);
}

// ---- The end

void Shim::on_exited(const ExitInfo& info) {
  exited_ = info;
  give_up_capture("its command has ended");
  if (main_started_) set_stopping();
  expect_power_off();
}

void Shim::expect_power_off() {
  // The agent powers off when all views have been read. A client that reads slowly (a pager) keeps the VM up, so that it loses
  // nothing; a stop overtakes it. Once nobody reads, a guest that stays up is not waited for.
  if (!exited_ || vm_ended_ || !bridges_.empty()) return;
  // Of a box that will be removed, and has neither volumes nor peers, nobody misses what has not been written yet.
  const bool nothing_to_keep = config_.box.options.auto_remove && config_.box.mounts.empty() && !network_;
  nothing_to_keep ? stop_sequence_.kill() : stop_sequence_.expect_end(StopSequence::kPowerOffPatience);
}

void Shim::request_stop(std::chrono::milliseconds grace, const std::string& reason) {
  if (vm_ended_) return flush_soon();
  if (failure_ || suspended_) return;
  give_up_capture("it is being stopped");
  if (qmp_ && qmp_->held()) unpause();
  if (!stop_requested_) {
    stop_requested_ = true;
    stop_reason_ = reason;
    log("stop requested, grace {} ms{}{}", grace.count(), reason.empty() ? "" : ": ", reason);
    set_stopping();
  }
  if (main_started_) return stop_sequence_.stop(grace);
  // Nothing of the user's runs yet: no signal to send, no grace to give.
  if (configured_) return stop_sequence_.shut_down();
  if (vm_) stop_sequence_.quit();
}

void Shim::fail_with(const Error& error) {
  if (failure_ || vm_ended_) return;
  failure_ = error;
  failed_first_ = !exited_;
  give_up_capture("it has failed");
  log("{}", error.message());
  boot_watch_.reset();
  // Before Configure there is nothing to sync, and after a broken protocol nobody to ask: the sequence goes on by itself. A VM
  // that waits for space cannot answer.
  if (configured_ && qmp_->paused().empty()) return stop_sequence_.shut_down();
  stop_sequence_.kill();
}

void Shim::on_portal_hangup() {
  portal_closed_ = true;
  // QEMU is ending: its end comes within milliseconds, and says why. Were it not to, this makes sure.
  if (!vm_ended_) stop_sequence_.expect_end(StopSequence::kQuitPatience);
}

void Shim::fail_unless(Result<void> result) {
  if (!result) fail_with(result.error());
}

StopSequence::Actions Shim::stop_actions() {
  return {.signal =
              [this] {
                int number = kSigTerm;
                if (!config_.box.stop_signal.empty()) {
                  if (const auto parsed = signal_number(config_.box.stop_signal)) {
                    number = *parsed;
                  } else {
                    log("stop signal: {}; SIGTERM is used", parsed.error().message());
                  }
                }
                call_agent(*link_, signal_call(number), [](const Result<proto::Reply>&) {});
              },
          .shutdown =
              [this] {
                proto::Call call;
                call.mutable_shutdown();
                call_agent(*link_, call, [this](const Result<proto::Reply>& reply) {
                  if (!reply && !vm_ended_) stop_sequence_.quit();
                });
              },
          .quit =
              [this] {
                log("the guest does not end by itself: QEMU is told to quit");
                qmp_->quit();
              },
          .kill =
              [this] {
                log("QEMU is killed");
                vm_->kill();
              },
          .kill_jail =
              [this] {
                log("the jail does not end (has it been stopped?): it is killed");
                vm_->kill_jail();
              }};
}

void Shim::on_vm_end() {
  vm_ended_ = true;
  if (state_.phase == Phase::kRunning) set_stopping();
  if (const auto capture = capture_) capture->vm_ended();
  boot_watch_.reset();
  stop_sequence_.finish();
  // Were only bwrap dead, this ends the rest.
  vm_->kill();
  const auto status = vm_->wait();
  vm_end_ = !status ? status.error().message()
            : status->signal > 0
                ? fmt::format("QEMU ended by signal {}{}", status->signal, cgroup_ ? oom_note() : oom_suspicion(status->signal))
                : fmt::format("QEMU ended with status {}", status->code);
  // What it sent before its end is still in the sockets.
  drains_left_ = 3;
  // After a command's own end its clients get all the time they need; after any other end, a moment.
  if (!exited_ || stop_requested_ || killed_) flush_soon();
  console_->on_end([this] { on_drained(); });
  complaints_->on_end([this] { on_drained(); });
  link_->drain([this] { on_drained(); });
}

void Shim::on_drained() {
  if (--drains_left_ == 0) finish_if_flushed();
}

// However often it is asked for.
void Shim::flush_soon() {
  if (!std::exchange(flushing_, true)) flush_timer_.start(kFlushPatience, [this] { loop_.stop(); });
}

void Shim::finish_if_flushed() {
  if (drains_left_ <= 0 && bridges_.empty()) loop_.stop();
}

// Every process of the box is killed then, and which of them is missed first is chance.
std::string Shim::oom_note() const {
  const vmm::VmCgroup::OutOfMemory seen = cgroup_ ? cgroup_->out_of_memory() : vmm::VmCgroup::OutOfMemory{};
  if (!seen.killed) return "";
  if (seen.own_limit) {
    return ": killed by the host's kernel (OOM killer): the box's processes wanted more than QEMU takes for a box of this "
           "--memory, which "
           "it should not";
  }
  return ": killed by the host's kernel for lack of memory (OOM killer); give the host less to do, or the box less --memory";
}

// Without a cgroup the kernel does not say whom it has killed for lack of memory; by whom else QEMU should have been is hard to
// see.
std::string Shim::oom_suspicion(int signal) const {
  if (signal != kSigKill || stop_requested_ || oom_kills() == oom_kills_before_) return "";
  return ": killed, it seems, by the host's kernel for lack of memory (OOM killer); give the host less to do, or the box less "
         "--memory";
}

std::string Shim::last_words() const {
  std::string text;
  if (complaints_) {
    if (const std::string lines = complaints_->last_lines(2); !lines.empty()) text += "; QEMU: " + lines;
  }
  if (console_) {
    if (const std::string lines = console_->last_lines(3); !lines.empty()) text += "; console: " + lines;
  }
  return text;
}

ExitRecord Shim::outcome() const {
  ExitRecord record;
  record.generation = config_.generation;
  record.finished_at = sys::utc_now();
  // Of a start that failed the agent reports 127 or so as the exit of what never ran.
  const bool exit_counts = exited_ && !(failure_ && (!main_started_ || failed_first_));
  if (suspended_) {
    record.suspended = true;
    record.reason = "paused to disk";
  } else if (exit_counts) {
    record.code = exited_->code;
    record.signal = exited_->signal;
    record.oom_killed = exited_->oom_killed;
    record.reason = exited_->oom_killed  ? "out of memory; give it more with --memory"
                    : exited_->timed_out ? fmt::format("its time was up (--timeout {})", config_.box.options.timeout_seconds)
                                         : stop_reason_;
  } else if (failure_) {
    // As a shell and docker have it: a command that cannot be run has ended, with 126 or 127.
    record.failed = failure_->code() != ErrorCode::kCommandNotFound && failure_->code() != ErrorCode::kCommandNotExecutable;
    if (!record.failed) record.code = exit_status(failure_->code());
    record.reason = failure_->message() + oom_note();
  } else if (stop_requested_) {
    record.signal = kSigKill;
    record.code = 128 + kSigKill;
    record.reason = stop_reason_.empty() ? "stopped before its command had ended" : stop_reason_;
  } else {
    record.failed = true;
    record.reason = fmt::format("the VM ended unexpectedly: {}{}", vm_end_, last_words());
  }
  return record;
}

Result<void> Shim::conclude() {
  // Until here it could be asked and stopped, however long a client took to read. Who is refused from now on takes it for ending.
  server_.reset();
  // Both wait for their processes: nothing of the box runs any more, and its ports are free, when its end is told.
  volumes_.reset();
  network_.reset();
  const ExitRecord record = outcome();
  if (!record.reason.empty()) log("{}", record.reason);
  FAILPOINT("shim.exit_record");
  const auto written = write_exit_record(paths_, id_, record);
  if (!written) log("{}", written.error().message());
  (void)sys::unlink(paths_.box(id_) + "/" + kPortalSocket);
  // Then the starter begins again, without the template.
  const bool of_template = vm_begun_ && !config_.vm.device_state.empty() && !config_.resume && !answered_ && !stop_requested_ &&
                           !(failure_ && failure_->code() == ErrorCode::kResourceExhausted);
  // What the box is, is not on its disk alone.
  const bool kept = suspended_ || (config_.resume && !checkpoint_used_);
  if (!kept) (void)sys::unlink(paths_.box(id_) + "/memory");
  // Asked before it is told: then it goes its own way.
  const bool begun_again = of_template && !starter_.gone();
  if (!main_started_) {
    starter_.report_failure(
        failure_ ? *failure_ : Error(stop_requested_ ? ErrorCode::kInvalidState : ErrorCode::kInternal, record.reason),
        of_template);
  }
  if (kept || begun_again) return {};
  // For those who wait for its end: the box may be gone when they come to look.
  if (const auto left = lease_->leave(record); !left) log("{}", left.error().message());
  FAILPOINT("shim.left");
  if (config_.box.options.auto_remove) {
    if (!remover_) {  // its start did not come that far
      TRY_ASSIGN(remover_, Remover::start(paths_, id_));
    }
    TRY(remover_->remove());
  }
  return {};
}

}  // namespace boxlite::shim

#include "cli/foreground.h"

#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "cli/box_flags.h"
#include "cli/detach_keys.h"
#include "cli/interruptible_start.h"
#include "cli/output.h"
#include "cli/patient_call.h"
#include "cli/verb.h"

namespace boxlite::cli {
namespace {

/// For a main command whose output nobody reads any more: time to end by itself.
constexpr std::chrono::seconds kGraceAfterOutputLost{1};

int signal_status(int signal) { return 128 + signal; }

int report_lost_output(const OutputLost& lost) {
  // A closed pipe is no news to whoever closed it; the status says it as a shell would.
  if (lost.error.error_number() == EPIPE) return signal_status(SIGPIPE);
  print_error(lost.error.message());
  return kExitFailure;
}

/// Box::exec() and Box::attach(), which a user can end when the box does not answer.
Result<std::shared_ptr<Execution>> open_session(SignalWatch& signals, std::string_view farewell,
                                                const std::function<Result<Execution>()>& open) {
  std::optional<Result<Execution>> opened;
  call_or_leave(signals, farewell, [&] { opened = open(); });
  TRY_ASSIGN(Execution session, std::move(*opened));
  return std::make_shared<Execution>(std::move(session));
}

/// A --rm box may have removed itself at any moment.
Result<void> allow_not_found(Result<void> result) {
  if (result || result.error().code() == ErrorCode::kNotFound) return {};
  return result;
}

int report_exit(const ExitInfo& exit, const Box& box) {
  if (exit.timed_out) print_error(fmt::format("box {}: the time of the command was up, and it was ended", box.name()));
  return exit.code;
}

/// How to come back to a command that goes on.
std::string way_back(const Box& box, const std::string& session_id) {
  const std::string session = session_id == kMainSession ? "" : " " + session_id;
  return fmt::format("the command goes on in box {}; boxlite attach {}{} returns to it", box.name(), box.name(), session);
}

/// Waits until the box is down; the exit status that its session's end makes.
Result<int> status_after(const Result<PumpEnd>& end, Box& box) {
  const Result<int> down = box.wait();
  if (!end) return down;  // the exit was not seen; what the box left behind, its absence too, tells more than the broken session
  if (const ExitInfo* exit = std::get_if<ExitInfo>(&*end)) return report_exit(*exit, box);
  return report_lost_output(std::get<OutputLost>(*end));
}

PumpOptions pump_options(const Foreground& foreground, bool input, bool tty, std::optional<WindowSize> window) {
  return {.input = input,
          .tty = tty,
          .window = window,
          .pass_signals = foreground.pass_signals,
          .detach_keys = input && tty ? foreground.detach_keys : ""};
}

}  // namespace

void TerminalFlags::add_to(FlagSet& flags) {
  flags.value("--detach-keys", "KEYS", detach_keys_, "Keys that leave the command's terminal (default ctrl-p,ctrl-q)");
}

void TerminalFlags::add_sig_proxy_to(FlagSet& flags) {
  flags.flag("--sig-proxy", sig_proxy_, "Pass signals on to the command, if it has no terminal (default true)");
}

Result<Foreground> TerminalFlags::foreground() const {
  TRY_ASSIGN(std::string keys, parse_detach_keys(detach_keys_));
  return Foreground{.detach_keys = std::move(keys), .pass_signals = sig_proxy_};
}

Result<int> run_in_foreground(Box& box, const BoxOptions& options, const Foreground& foreground, Timing& timing) {
  const std::optional<WindowSize> window = window_size();
  StartOptions start;
  start.attach = true;
  if (timing.on()) start.on_step = [&timing](const StartStep& step) { timing.add(step); };
  if (options.tty && window) {
    start.rows = window->rows;
    start.columns = window->columns;
  }
  TRY_ASSIGN(SignalWatch signals, watch_session_signals());
  TRY_ASSIGN(StartOutcome outcome, start_interruptibly(box, start, signals));
  if (outcome.interrupted_by != 0) {
    TRY(allow_not_found(box.stop(std::chrono::seconds(0))));
    if (options.auto_remove) TRY(allow_not_found(box.remove(true)));
    return signal_status(outcome.interrupted_by);
  }
  if (!outcome.started) {
    // The shim removes a --rm box, and may have ended before it could. Whether this works or not: the failed start is the news.
    if (options.auto_remove) (void)box.remove(true);
    return std::unexpected(std::move(outcome.started).error());
  }
  const std::string still_runs = fmt::format("box {} still runs; boxlite rm -f {} ends it", box.name(), box.name());
  std::shared_ptr<Execution> session;
  if (*outcome.started) {
    session = std::make_shared<Execution>(std::move(**outcome.started));
  } else {  // another process started it between our two steps
    TRY_ASSIGN(session, open_session(signals, still_runs, [&] { return box.attach(); }));
  }

  const Result<PumpEnd> end = pump_session(session, signals, pump_options(foreground, options.open_stdin, options.tty, window));
  const std::string session_id = session->session_id();
  session.reset();
  timing.note("command has ended");

  if (end) {
    if (std::holds_alternative<Detached>(*end)) {
      print_error(way_back(box, session_id));
      return 0;
    }
    if (const Interrupted* interrupted = std::get_if<Interrupted>(&*end)) {
      print_error(still_runs);
      return signal_status(interrupted->signal);
    }
    if (std::holds_alternative<OutputLost>(*end)) TRY(allow_not_found(box.stop(kGraceAfterOutputLost)));
  }

  // The command's exit is seen before the disk is synced and the VM is down. Whoever looks next shall find it ended.
  const Result<int> status = status_after(end, box);
  timing.note("VM is down");
  if (options.auto_remove) TRY(allow_not_found(box.remove(true)));  // waits for the shim's own removal
  return status;
}

Result<int> exec_in_foreground(Box& box, ExecOptions options, const Foreground& foreground) {
  const std::optional<WindowSize> window = window_size();
  if (options.tty && window) {
    options.rows = window->rows;
    options.columns = window->columns;
  }
  TRY_ASSIGN(SignalWatch signals, watch_session_signals());
  const std::string farewell = fmt::format("box {} does not answer; the command may run in it nevertheless", box.name());
  TRY_ASSIGN(const std::shared_ptr<Execution> session, open_session(signals, farewell, [&] { return box.exec(options); }));
  TRY_ASSIGN(const PumpEnd end,
             pump_session(session, signals, pump_options(foreground, options.open_stdin, options.tty, window)));
  if (const ExitInfo* exit = std::get_if<ExitInfo>(&end)) return report_exit(*exit, box);
  if (std::holds_alternative<Detached>(end)) {
    print_error(way_back(box, session->session_id()));
    return 0;
  }
  if (const Interrupted* interrupted = std::get_if<Interrupted>(&end)) {
    print_error(interrupted->unanswered ? farewell : way_back(box, session->session_id()));
    return signal_status(interrupted->signal);
  }
  // As the kernel would do to it in a local pipe.
  (void)call_within(kAnswerPatience, [session] { return session->signal(SIGPIPE); });
  return report_lost_output(std::get<OutputLost>(end));
}

Result<int> attach_in_foreground(Box& box, const AttachOptions& options, const Foreground& foreground) {
  TRY_ASSIGN(SignalWatch signals, watch_session_signals());
  const std::string farewell = fmt::format("box {} does not answer; boxlite rm -f {} ends it", box.name(), box.name());
  TRY_ASSIGN(std::shared_ptr<Execution> session, open_session(signals, farewell, [&] { return box.attach(options); }));
  const bool input = session->takes_stdin();
  const bool tty = session->tty();
  const std::string session_id = session->session_id();
  TRY(check_terminal_input(input, tty));
  if (const auto window = window_size(); tty && window) {
    // Another size than the pump gives it next: what runs in the terminal sees a change and paints anew.
    (void)call_within(kAnswerPatience, [session, size = *window] { return session->resize(size.rows + 1, size.columns); });
  }
  PumpOptions pump = pump_options(foreground, input, tty, std::nullopt);
  pump.replay = true;
  const Result<PumpEnd> end = pump_session(session, signals, pump);
  session.reset();
  if (end) {
    if (std::holds_alternative<Detached>(*end)) {
      print_error(way_back(box, session_id));
      return 0;
    }
    if (const Interrupted* interrupted = std::get_if<Interrupted>(&*end)) {
      print_error(interrupted->unanswered ? farewell : way_back(box, session_id));
      return signal_status(interrupted->signal);
    }
    // It has other views, or none: whose output is lost is this one's matter.
    if (const OutputLost* lost = std::get_if<OutputLost>(&*end)) return report_lost_output(*lost);
    if (session_id != kMainSession) return report_exit(std::get<ExitInfo>(*end), box);
  }
  if (session_id != kMainSession) return std::unexpected(end.error());
  return status_after(end, box);
}

}  // namespace boxlite::cli

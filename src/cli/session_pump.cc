#include "cli/session_pump.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <span>
#include <string>
#include <utility>

#include "base/sys.h"
#include "cli/detach_keys.h"
#include "cli/patient_call.h"
#include "cli/replay_filter.h"

namespace boxlite::cli {
namespace {

constexpr std::size_t kInputChunk = 32 * 1024;
/// So many requests to end, and a command that ignores them no longer keeps us (docker's number).
constexpr int kInterruptsToLeave = 3;

bool is_regular_file(int fd) {
  struct stat status{};
  return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

bool is_transient(int error_number) { return error_number == EAGAIN || error_number == EINTR; }

class Pump {
 public:
  Pump(std::shared_ptr<Execution> session, SignalWatch& signals, const PumpOptions& options)
      : shared_(std::move(session)),
        session_(*shared_),
        signals_(signals),
        options_(options),
        detach_keys_(options.detach_keys),
        reading_(options.input) {
    if (options.replay && options.tty && is_terminal(STDOUT_FILENO)) replay_filter_.emplace(session_.replay_end());
  }

  Result<PumpEnd> run();

 private:
  struct PendingOutput {
    int fd = -1;
    std::string data;
    std::size_t written = 0;
  };

  Result<void> take_events();
  void read_input();
  void pass_input();
  void write_output();
  void handle_signals();
  void pass_signal(int signal);
  void resize(WindowSize size);
  Result<short> wait();

  std::shared_ptr<Execution> shared_;  // with calls that wait for an answer: they use nothing that next() or write_stdin() change
  Execution& session_;
  SignalWatch& signals_;
  PumpOptions options_;

  std::optional<PendingOutput> output_;
  std::optional<ReplayFilter> replay_filter_;  // a terminal's output is all on stdout
  DetachKeys detach_keys_;
  std::string input_;
  bool reading_;                // standard input may have more
  bool input_refused_ = false;  // the command took none of input_; try again when the session moves
  bool end_of_input_ = false;   // to be told once input_ is through
  int interrupts_ = 0;
  std::optional<PumpEnd> end_;
};

Result<PumpEnd> Pump::run() {
  if (const auto now = window_size(); options_.tty && now && now != options_.window) resize(*now);
  while (true) {
    TRY(take_events());
    if (end_) return *end_;
    pass_input();
    TRY_ASSIGN(const short session_events, wait());
    if (session_events != 0) input_refused_ = false;
    if (end_) return *end_;
  }
}

/// Takes what the session has, until a piece of output has to wait.
Result<void> Pump::take_events() {
  while (!output_ && !end_) {
    TRY_ASSIGN(std::optional<SessionEvent> event, session_.next(std::chrono::milliseconds(0)));
    if (!event) return {};
    if (const ExitInfo* exit = std::get_if<ExitInfo>(&*event)) {
      end_ = *exit;
      return {};
    }
    OutputChunk& chunk = std::get<OutputChunk>(*event);
    if (replay_filter_) chunk.data = replay_filter_->pass(chunk.offset, chunk.data);
    if (chunk.data.empty()) continue;
    output_ = PendingOutput{chunk.stream == OutputStream::kStdout ? STDOUT_FILENO : STDERR_FILENO, std::move(chunk.data)};
    write_output();
  }
  return {};
}

void Pump::write_output() {
  while (output_) {
    pollfd ready{output_->fd, POLLOUT, 0};
    if (::poll(&ready, 1, 0) <= 0) return;
    const std::size_t left = output_->data.size() - output_->written;
    const std::size_t size = is_regular_file(output_->fd) ? left : std::min<std::size_t>(left, PIPE_BUF);
    const ssize_t count = ::write(output_->fd, output_->data.data() + output_->written, size);
    if (count < 0) {
      if (is_transient(errno)) return;  // the descriptor is non-blocking by its owner's will
      end_ = OutputLost{Error::from_errno(errno, output_->fd == STDOUT_FILENO ? "standard output" : "standard error")};
      return;
    }
    output_->written += static_cast<std::size_t>(count);
    if (output_->written == output_->data.size()) output_.reset();
  }
}

void Pump::read_input() {
  std::array<std::byte, kInputChunk> buffer;
  const Result<std::size_t> count = sys::read(STDIN_FILENO, buffer);
  if (!count && is_transient(count.error().error_number())) return;
  if (!count || *count == 0) {  // a terminal that hung up reads as an error
    reading_ = false;
    end_of_input_ = true;
    input_ = detach_keys_.rest();
    return;
  }
  input_ = detach_keys_.pass({reinterpret_cast<const char*>(buffer.data()), *count});
  if (detach_keys_.seen()) {
    pass_input();
    end_ = Detached();
  }
}

void Pump::pass_input() {
  while (!input_.empty() && !input_refused_) {
    const Result<std::size_t> taken = session_.write_stdin(std::as_bytes(std::span(input_)));
    if (!taken) {  // the command is gone or has closed its input; next() tells how it ended
      input_.clear();
      reading_ = false;
      end_of_input_ = false;
      return;
    }
    input_.erase(0, *taken);
    input_refused_ = *taken == 0;
  }
  if (input_.empty() && end_of_input_) {
    end_of_input_ = false;
    (void)session_.close_stdin();
  }
}

void Pump::pass_signal(int signal) {
  const Result<void> passed = call_within(kAnswerPatience, [session = shared_, signal] { return session->signal(signal); });
  if (!asks_to_end(signal)) return;
  // Neither a box that does not answer nor a command that does not care may keep the user here.
  const bool unanswered = !passed && passed.error().code() == ErrorCode::kUnavailable;
  if (++interrupts_ >= kInterruptsToLeave || unanswered) end_ = Interrupted{signal, unanswered};
}

void Pump::resize(WindowSize size) {
  (void)call_within(kAnswerPatience, [session = shared_, size] { return session->resize(size.rows, size.columns); });
}

void Pump::handle_signals() {
  while (!end_) {
    const std::optional<int> signal = signals_.next();
    if (!signal) return;
    if (*signal == SIGWINCH) {
      if (const auto size = window_size(); size && options_.tty) resize(*size);
    } else if (options_.tty || !options_.pass_signals) {
      end_ = Interrupted{.signal = *signal};
    } else {
      pass_signal(*signal);
    }
  }
}

/// Waits for the next thing to happen and handles all but the session's events, which it returns.
Result<short> Pump::wait() {
  enum { kSignals, kSession, kInput, kOutput, kCount };
  std::array<pollfd, kCount> fds{};
  fds[kSignals] = {signals_.poll_fd(), POLLIN, 0};

  short session_events = 0;
  if (!output_) session_events |= POLLIN;
  if (session_.wants_write()) session_events |= POLLOUT;
  // Not in the set at all while nothing is wanted of it: a hang-up, which poll always reports, would make the loop spin.
  fds[kSession] = {session_events != 0 ? session_.poll_fd() : -1, session_events, 0};
  fds[kInput] = {reading_ && input_.empty() ? STDIN_FILENO : -1, POLLIN, 0};
  fds[kOutput] = {output_ ? output_->fd : -1, POLLOUT, 0};

  const int timeout_ms = !output_ && session_.has_event() ? 0 : -1;
  if (::poll(fds.data(), fds.size(), timeout_ms) < 0 && errno != EINTR) return fail_errno("poll");
  if (fds[kSignals].revents != 0) handle_signals();
  if (fds[kInput].revents != 0) read_input();
  if (fds[kOutput].revents != 0) write_output();
  return fds[kSession].revents;
}

}  // namespace

Result<SignalWatch> watch_session_signals() {
  return SignalWatch::create({SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH});
}

Result<PumpEnd> pump_session(const std::shared_ptr<Execution>& session, SignalWatch& signals, const PumpOptions& options) {
  std::optional<RawMode> raw;
  if (options.input && options.tty && is_terminal(STDIN_FILENO)) {
    TRY_ASSIGN(RawMode entered, RawMode::enter(STDIN_FILENO));
    raw.emplace(std::move(entered));
  }
  return Pump(session, signals, options).run();
}

}  // namespace boxlite::cli

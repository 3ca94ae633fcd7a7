// The pump against a session of this file: Execution is defined here, not in the runtime.
#include "cli/session_pump.h"

#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <deque>
#include <functional>
#include <latch>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sys.h"

namespace boxlite {

class Execution::Impl {
 public:
  explicit Impl(sys::SocketPair sockets) : sockets_(std::move(sockets)) {}

  void push(SessionEvent event) {
    events_.push_back(std::move(event));
    ASSERT_TRUE(sys::write_all(sockets_.b.get(), "!"));  // wakes a poll
  }

  sys::SocketPair sockets_;
  std::deque<SessionEvent> events_;
  std::string input_;
  std::size_t window_ = 1 << 20;  // bytes that one write_stdin takes
  bool refuse_next_ = false;
  bool closed_ = false;
  std::vector<int> signals_;
  std::vector<std::pair<unsigned, unsigned>> sizes_;
  std::function<void()> on_next_ = [] {};
  std::function<void()> on_close_ = [] {};
  std::function<Result<void>(int)> on_signal_ = [](int) { return Result<void>(); };
};

Execution::Execution(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Execution::Execution(Execution&&) noexcept = default;
Execution::~Execution() = default;

Result<std::optional<SessionEvent>> Execution::next(std::optional<std::chrono::milliseconds>) {
  impl_->on_next_();
  if (impl_->events_.empty()) return std::nullopt;
  std::array<std::byte, 1> wake;
  EXPECT_TRUE(sys::read(impl_->sockets_.a.get(), wake));
  SessionEvent event = std::move(impl_->events_.front());
  impl_->events_.pop_front();
  return event;
}

Result<std::size_t> Execution::write_stdin(std::span<const std::byte> data) {
  if (impl_->window_ < data.size()) impl_->refuse_next_ = !impl_->refuse_next_;
  const std::size_t taken = impl_->refuse_next_ ? 0 : std::min(data.size(), impl_->window_);
  impl_->input_.append(reinterpret_cast<const char*>(data.data()), taken);
  return taken;
}

Result<void> Execution::close_stdin() {
  impl_->closed_ = true;
  impl_->on_close_();
  return {};
}

Result<void> Execution::signal(int number) {
  impl_->signals_.push_back(number);
  return impl_->on_signal_(number);
}

Result<void> Execution::resize(unsigned rows, unsigned columns) {
  impl_->sizes_.emplace_back(rows, columns);
  return {};
}

std::uint64_t Execution::replay_end() const { return 0; }
int Execution::poll_fd() const { return impl_->sockets_.a.get(); }
bool Execution::wants_write() const { return impl_->refuse_next_; }
bool Execution::has_event() const { return !impl_->events_.empty(); }

namespace cli {
namespace {

using ::testing::ElementsAre;

/// Puts a descriptor in the place of a standard one, for as long as it lives.
class Redirect {
 public:
  Redirect(int standard, int fd) : standard_(standard), saved_(::fcntl(standard, F_DUPFD_CLOEXEC, 10)) {
    EXPECT_GE(::dup2(fd, standard), 0);
  }
  Redirect(const Redirect&) = delete;
  Redirect& operator=(const Redirect&) = delete;
  ~Redirect() { ::dup2(saved_.get(), standard_); }

 private:
  int standard_;
  UniqueFd saved_;
};

class SessionPumpTest : public ::testing::Test {
 protected:
  SessionPumpTest() {
    ::signal(SIGPIPE, SIG_IGN);
    auto impl = std::make_unique<Execution::Impl>(std::move(*sys::socket_pair()));
    fake_ = impl.get();
    session_ = std::make_shared<Execution>(std::move(impl));
    out_ = std::move(*sys::pipe());
    in_ = std::move(*sys::pipe());
  }

  void output(std::string data, OutputStream stream = OutputStream::kStdout) {
    fake_->push(OutputChunk{stream, std::move(data)});
  }
  void exit(int code) { fake_->push(ExitInfo{code, 0, false}); }

  /// Runs the pump with our pipes as standard input and output.
  PumpEnd pump(PumpOptions options = {}) {
    const Redirect out(STDOUT_FILENO, out_.write_end.get());
    const Redirect in(STDIN_FILENO, in_.read_end.get());
    out_.write_end.reset();
    return pump_here(options);
  }

  PumpEnd pump_here(PumpOptions options) {
    Result<SignalWatch> signals = watch_session_signals();
    EXPECT_TRUE(signals);
    ready_();
    const Result<PumpEnd> end = pump_session(session_, *signals, options);
    EXPECT_TRUE(end) << end.error().message();
    return end ? *end : PumpEnd(Interrupted{-1});
  }

  std::string written() {
    std::string result;
    std::array<std::byte, 65536> buffer;
    while (const auto count = sys::read(out_.read_end.get(), buffer).value_or(0)) {
      result.append(reinterpret_cast<const char*>(buffer.data()), count);
    }
    return result;
  }

  Execution::Impl* fake_ = nullptr;
  std::shared_ptr<Execution> session_;
  sys::Pipe out_;
  sys::Pipe in_;
  std::function<void()> ready_ = [] {};  // signals are blocked from here on
};

int exit_code(const PumpEnd& end) {
  const ExitInfo* exit = std::get_if<ExitInfo>(&end);
  return exit != nullptr ? exit->code : -1;
}

TEST_F(SessionPumpTest, OutputComesBeforeTheExit) {
  output("one ");
  output("");
  output("two");
  exit(7);
  EXPECT_EQ(exit_code(pump()), 7);
  EXPECT_EQ(written(), "one two");
}

TEST_F(SessionPumpTest, StandardErrorGoesToStandardError) {
  sys::Pipe err = std::move(*sys::pipe());
  output("out");
  output("err", OutputStream::kStderr);
  exit(0);
  {
    const Redirect redirect(STDERR_FILENO, err.write_end.get());
    pump();
  }
  err.write_end.reset();
  EXPECT_EQ(written(), "out");
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(sys::read(err.read_end.get(), buffer).value_or(0), 3u);
}

TEST_F(SessionPumpTest, MoreOutputThanAPipeHoldsIsWrittenWhole) {
  const std::string data(3'000'000, 'x');
  output(data);
  exit(0);
  std::string received;
  std::jthread reader([&] { received = written(); });
  pump();
  reader.join();
  EXPECT_EQ(received, data);
}

TEST_F(SessionPumpTest, InputIsPassedOnAndThenItsEnd) {
  ASSERT_TRUE(sys::write_all(in_.write_end.get(), "hello"));
  in_.write_end.reset();
  fake_->on_close_ = [this] {
    EXPECT_EQ(fake_->input_, "hello");
    exit(0);
  };
  EXPECT_EQ(exit_code(pump({.input = true})), 0);
  EXPECT_TRUE(fake_->closed_);
}

TEST_F(SessionPumpTest, TheDetachKeysEndThePumpAndWhatWasTypedBeforeThemIsPassedOn) {
  ASSERT_TRUE(sys::write_all(in_.write_end.get(), "typed\x10\x11unread"));
  const PumpEnd end = pump({.input = true, .tty = true, .detach_keys = "\x10\x11"});
  EXPECT_TRUE(std::holds_alternative<Detached>(end));
  EXPECT_EQ(fake_->input_, "typed");
  EXPECT_FALSE(fake_->closed_);
}

TEST_F(SessionPumpTest, ABeginningOfTheDetachKeysBeforeTheEndOfInputIsPassedOn) {
  ASSERT_TRUE(sys::write_all(in_.write_end.get(), "typed\x10"));
  in_.write_end.reset();
  fake_->on_close_ = [this] { exit(0); };
  EXPECT_EQ(exit_code(pump({.input = true, .tty = true, .detach_keys = "\x10\x11"})), 0);
  EXPECT_EQ(fake_->input_, "typed\x10");
}

TEST_F(SessionPumpTest, InputThatIsNotTakenAtOnceIsNotLost) {
  std::string data;
  for (int i = 0; i < 20'000; ++i) data += std::to_string(i) + "\n";
  std::jthread writer([&] {
    EXPECT_TRUE(sys::write_all(in_.write_end.get(), data));
    in_.write_end.reset();
  });
  fake_->window_ = 1000;
  fake_->on_close_ = [this] { exit(0); };
  pump({.input = true});
  EXPECT_EQ(fake_->input_, data);
}

TEST_F(SessionPumpTest, WithoutInputStandardInputIsLeftAlone) {
  ASSERT_TRUE(sys::write_all(in_.write_end.get(), "for someone else"));
  exit(0);
  pump();
  std::array<std::byte, 32> buffer;
  EXPECT_EQ(sys::read(in_.read_end.get(), buffer).value_or(0), 16u);
}

TEST_F(SessionPumpTest, SignalsReachTheCommand) {
  ready_ = [] {
    ::raise(SIGUSR1);
    ::raise(SIGTERM);
  };
  fake_->on_signal_ = [this](int) {
    if (fake_->signals_.size() == 2) exit(143);
    return Result<void>();
  };
  EXPECT_EQ(exit_code(pump()), 143);
  EXPECT_THAT(fake_->signals_, ElementsAre(SIGUSR1, SIGTERM));
}

TEST_F(SessionPumpTest, ASignalGetsThroughWhileNobodyReadsTheOutput) {
  output(std::string(1'000'000, 'x'));
  ready_ = [] { ::raise(SIGTERM); };
  fake_->on_signal_ = [this](int) {
    out_.read_end.reset();
    return Result<void>();
  };
  const PumpEnd end = pump();
  EXPECT_THAT(fake_->signals_, ElementsAre(SIGTERM));
  ASSERT_TRUE(std::holds_alternative<OutputLost>(end));
  EXPECT_EQ(std::get<OutputLost>(end).error.error_number(), EPIPE);
}

TEST_F(SessionPumpTest, TheThirdInterruptLeavesACommandThatIgnoresThem) {
  ready_ = [] { ::raise(SIGINT); };
  fake_->on_signal_ = [this](int) {
    if (fake_->signals_.size() < 3) ::kill(::getpid(), SIGINT);
    return Result<void>();
  };
  const PumpEnd end = pump();
  ASSERT_TRUE(std::holds_alternative<Interrupted>(end));
  EXPECT_EQ(std::get<Interrupted>(end).signal, SIGINT);
  EXPECT_THAT(fake_->signals_, ElementsAre(SIGINT, SIGINT, SIGINT));
}

TEST_F(SessionPumpTest, ABoxThatDoesNotAnswerDoesNotKeepTheUser) {
  ready_ = [] { ::raise(SIGTERM); };
  fake_->on_signal_ = [](int) -> Result<void> { return std::unexpected(Error(ErrorCode::kUnavailable, "no answer")); };
  EXPECT_TRUE(std::holds_alternative<Interrupted>(pump()));
}

TEST_F(SessionPumpTest, ABoxThatNeverAnswersDoesNotKeepTheUser) {
  const auto answered = std::make_shared<std::latch>(1);
  const auto left = std::make_shared<std::latch>(1);
  ready_ = [] { ::raise(SIGTERM); };
  fake_->on_signal_ = [=](int) -> Result<void> {
    answered->wait();
    left->count_down();
    return {};
  };
  const PumpEnd end = pump();
  ASSERT_TRUE(std::holds_alternative<Interrupted>(end));
  EXPECT_TRUE(std::get<Interrupted>(end).unanswered);
  session_.reset();  // the call still has its share
  answered->count_down();
  left->wait();
}

TEST_F(SessionPumpTest, AFullDiskIsReportedAsLostOutput) {
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full);
  output("x");
  const Redirect out(STDOUT_FILENO, full.get());
  const PumpEnd end = pump_here({});
  ASSERT_TRUE(std::holds_alternative<OutputLost>(end));
  EXPECT_EQ(std::get<OutputLost>(end).error.error_number(), ENOSPC);
}

TEST_F(SessionPumpTest, StandardDescriptorsKeepTheirFlags) {
  const int before = ::fcntl(in_.read_end.get(), F_GETFL);
  fake_->on_next_ = [&] {
    EXPECT_EQ(::fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK, 0);
    EXPECT_EQ(::fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK, 0);
  };
  exit(0);
  pump({.input = true});
  EXPECT_EQ(::fcntl(in_.read_end.get(), F_GETFL), before);
}

TEST_F(SessionPumpTest, ATerminalIsRawForTheSessionAndAsBeforeAfterIt) {
  int controller = -1, terminal = -1;
  const winsize size{40, 120, 0, 0};
  ASSERT_EQ(::openpty(&controller, &terminal, nullptr, nullptr, &size), 0);
  const UniqueFd controller_owner(controller), terminal_owner(terminal);
  termios before{}, during{}, after{};
  ASSERT_EQ(::tcgetattr(terminal, &before), 0);
  fake_->on_next_ = [&] { ::tcgetattr(terminal, &during); };
  exit(0);
  {
    const Redirect in(STDIN_FILENO, terminal), out(STDOUT_FILENO, terminal);
    pump_here({.input = true, .tty = true, .window = WindowSize{24, 80}});
  }
  ASSERT_EQ(::tcgetattr(terminal, &after), 0);
  EXPECT_NE(before.c_lflag & ICANON, 0u);
  EXPECT_EQ(during.c_lflag & (ICANON | ECHO | ISIG), 0u);
  EXPECT_EQ(after.c_lflag, before.c_lflag);
  EXPECT_THAT(fake_->sizes_, ElementsAre(std::pair(40u, 120u)));  // it changed after the start
}

TEST_F(SessionPumpTest, ANewWindowSizeReachesTheTerminalInTheBox) {
  int controller = -1, terminal = -1;
  winsize size{24, 80, 0, 0};
  ASSERT_EQ(::openpty(&controller, &terminal, nullptr, nullptr, &size), 0);
  const UniqueFd controller_owner(controller), terminal_owner(terminal);
  bool changed = false;
  fake_->on_next_ = [&] {
    if (!changed) {
      changed = true;
      size = {50, 200, 0, 0};
      EXPECT_EQ(::ioctl(controller, TIOCSWINSZ, &size), 0);
      ::raise(SIGWINCH);
    } else if (!fake_->sizes_.empty() && fake_->events_.empty()) {
      exit(0);
    }
  };
  const Redirect in(STDIN_FILENO, terminal), out(STDOUT_FILENO, terminal);
  pump_here({.input = true, .tty = true, .window = WindowSize{24, 80}});
  EXPECT_THAT(fake_->sizes_, ElementsAre(std::pair(50u, 200u)));
}

}  // namespace
}  // namespace cli
}  // namespace boxlite

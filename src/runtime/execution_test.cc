#include "boxlite/execution.h"

#include <future>
#include <mutex>

#include <gtest/gtest.h>

#include "base/sys.h"
#include "runtime/fake_shim.h"
#include "runtime/session_client.h"

namespace boxlite {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kPatience = std::chrono::seconds(60);

proto::Reply started(const std::string& id = "s1") {
  proto::Reply reply;
  reply.mutable_started()->set_session_id(id);
  reply.mutable_started()->set_pid(17);
  return reply;
}

proto::Reply failure(const std::string& code, const std::string& message) {
  proto::Reply reply;
  reply.mutable_failure()->set_code(code);
  reply.mutable_failure()->set_message(message);
  return reply;
}

proto::Reply ok() {
  proto::Reply reply;
  reply.mutable_ok();
  return reply;
}

proto::SessionOutput chunk(std::uint64_t offset, std::string data, proto::Chunk::Stream stream = proto::Chunk::STDOUT) {
  proto::SessionOutput output;
  output.mutable_chunk()->set_stream(stream);
  output.mutable_chunk()->set_offset(offset);
  output.mutable_chunk()->set_data(std::move(data));
  return output;
}

proto::SessionOutput exited(int code, int signal = 0) {
  proto::SessionOutput output;
  output.mutable_exited()->set_code(code);
  output.mutable_exited()->set_signal(signal);
  return output;
}

/// A shim and agent in one: reads the line and the call, then runs `serve`.
class FakeAgent {
 public:
  using Serve = std::function<void(const proto::Call&, FakeConnection&)>;
  explicit FakeAgent(Serve serve)
      : shim_([serve = std::move(serve)](FakeConnection& connection) {
          if (connection.read_line() != "agent 1\n") return;
          proto::Call call;
          if (connection.read(call)) serve(call, connection);
        }) {}
  const std::string& box() const { return shim_.box_directory(); }

 private:
  FakeShim shim_;
};

/// An agent that answers exec and attach with Started and then says `outputs`.
FakeAgent::Serve saying(std::vector<proto::SessionOutput> outputs) {
  return [outputs = std::move(outputs)](const proto::Call&, FakeConnection& connection) {
    connection.write(started());
    for (const auto& output : outputs) connection.write(output);
  };
}

ExecOptions command(bool open_stdin = false) {
  ExecOptions options;
  options.command = {"cat", "-u"};
  options.open_stdin = open_stdin;
  return options;
}

/// All output of an execution until its exit, or the error instead.
struct Ended {
  std::string out, err;
  Result<ExitInfo> exit = ExitInfo{};
};
Ended run_to_end(Execution& execution) {
  Ended ended;
  for (;;) {
    auto event = execution.next(kPatience);
    if (!event || !*event) {
      ended.exit = std::unexpected(event ? Error(ErrorCode::kInternal, "the test's deadline passed") : event.error());
      return ended;
    }
    if (const auto* exit = std::get_if<ExitInfo>(&**event)) {
      ended.exit = *exit;
      return ended;
    }
    const auto& piece = std::get<OutputChunk>(**event);
    (piece.stream == OutputStream::kStdout ? ended.out : ended.err) += piece.data;
  }
}

TEST(ExecutionTest, OutputOfBothStreamsArrivesBeforeTheExit) {
  FakeAgent agent(saying({chunk(0, "one "), chunk(0, "bad", proto::Chunk::STDERR), chunk(4, std::string("t\0o\xff", 4)),
                          chunk(3, "!", proto::Chunk::STDERR), exited(3)}));
  auto execution = start_exec(agent.box(), command());
  ASSERT_TRUE(execution) << execution.error().message();
  EXPECT_EQ(execution->session_id(), "s1");
  const Ended ended = run_to_end(*execution);
  ASSERT_TRUE(ended.exit) << ended.exit.error().message();
  EXPECT_EQ(ended.out, std::string("one t\0o\xff", 8));
  EXPECT_EQ(ended.err, "bad!");
  EXPECT_EQ(ended.exit->code, 3);
  const auto after = execution->next(milliseconds(0));
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().code(), ErrorCode::kInvalidState);
}

TEST(ExecutionTest, TheCallSaysWhatTheOptionsSay) {
  std::promise<proto::Call> seen;
  FakeAgent agent([&](const proto::Call& call, FakeConnection& connection) {
    seen.set_value(call);
    connection.write(started());
  });
  ExecOptions options = command(true);
  options.command = {"printf", "\xff\xfe"};
  options.env = {"A=\xff"};
  options.working_dir = "/srv/\xff";
  options.user = "1:2";
  options.tty = true;
  options.rows = 24;
  options.columns = 80;
  ASSERT_TRUE(start_exec(agent.box(), options));
  const proto::Call call = seen.get_future().get();
  const proto::Process& process = call.exec().process();
  ASSERT_EQ(process.args_size(), 2);
  EXPECT_EQ(process.args(1), "\xff\xfe");
  EXPECT_EQ(process.env(0), "A=\xff");
  EXPECT_EQ(process.working_dir(), "/srv/\xff");
  EXPECT_EQ(process.user(), "1:2");
  EXPECT_TRUE(process.tty() && process.open_stdin());
  EXPECT_EQ(process.rows(), 24U);
  EXPECT_EQ(process.cols(), 80U);
}

TEST(ExecutionTest, WhatCannotBeSentIsRefusedBeforeTheBoxIsAsked) {
  ExecOptions nothing;
  EXPECT_EQ(start_exec(BoxAddress("/nonexistent"), nothing).error().code(), ErrorCode::kInvalidArgument);
  FakeAgent agent(saying({}));
  ExecOptions huge = command();
  for (int i = 0; i < 12; ++i) huge.command.push_back(std::string(100'000, 'x'));
  EXPECT_EQ(start_exec(agent.box(), huge).error().code(), ErrorCode::kInvalidArgument);
}

TEST(ExecutionTest, AFailureOfTheAgentKeepsItsCodeAndCannotSteerTheTerminal) {
  FakeAgent agent([](const proto::Call&, FakeConnection& connection) {
    connection.write(failure("command_not_found",
                             "\x1b[2Jno such\ncommand \xc2\x9b"
                             "1m\x9b\xff: \xc3\xa4" +
                                 std::string(5000, 'x')));
  });
  const auto execution = start_exec(agent.box(), command());
  ASSERT_FALSE(execution);
  EXPECT_EQ(execution.error().code(), ErrorCode::kCommandNotFound);
  EXPECT_EQ(execution.error().message().substr(0, 35), "?[2Jno such?command ?1m\xef\xbf\xbd\xef\xbf\xbd: \xc3\xa4xx");
  EXPECT_LE(execution.error().message().size(), 3U * 1024);
}

TEST(ExecutionTest, RepliesThatAreNoneAreRefused) {
  const std::string cases[] = {*portal::encode_message(proto::Reply()),
                               *portal::encode_message(ok()),
                               *portal::encode_message(started("")),
                               *portal::encode_message(started("../x")),
                               *portal::encode_message(started(std::string(65, 'a'))),
                               std::string("\xff\xff\xff\xff"),
                               std::string("\0\0\0\2\xff\xff", 6)};
  for (const std::string& wire : cases) {
    FakeAgent agent([&](const proto::Call&, FakeConnection& connection) { connection.write(std::string_view(wire)); });
    const auto execution = start_exec(agent.box(), command(), kPatience);
    ASSERT_FALSE(execution);
    EXPECT_EQ(execution.error().code(), ErrorCode::kCorrupt) << execution.error().message();
  }
}

TEST(ExecutionTest, AnAgentThatIsSilentOrGoneIsUnavailable) {
  FakeAgent gone([](const proto::Call&, FakeConnection&) {});
  EXPECT_EQ(start_exec(gone.box(), command(), kPatience).error().code(), ErrorCode::kUnavailable);
  FakeAgent silent([](const proto::Call&, FakeConnection& connection) {
    proto::SessionInput input;
    connection.read(input);
  });
  EXPECT_EQ(start_exec(silent.box(), command(), milliseconds(30)).error().code(), ErrorCode::kUnavailable);
}

TEST(ExecutionTest, ACallThatWaitsForASilentAgentEndsWhenItIsInterrupted) {
  FakeAgent silent([](const proto::Call&, FakeConnection& connection) {
    proto::SessionInput input;
    connection.read(input);
  });
  const auto interrupt = sys::pipe();
  ASSERT_TRUE(interrupt && sys::write_all(interrupt->write_end.get(), "!"));
  proto::Call call;
  call.mutable_ping();
  const auto began = std::chrono::steady_clock::now();
  const auto session = open_session(silent.box(), call, kPatience, interrupt->read_end.get());
  EXPECT_EQ(session.error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(session.error().message(), "interrupted");
  EXPECT_LT(std::chrono::steady_clock::now() - began, kPatience / 2);
}

TEST(ExecutionTest, TheOutputThatCameBeforeTheBoxEndedIsDelivered) {
  FakeAgent agent(saying({chunk(0, "last words")}));
  auto execution = start_exec(agent.box(), command());
  ASSERT_TRUE(execution);
  const Ended ended = run_to_end(*execution);
  EXPECT_EQ(ended.out, "last words");
  ASSERT_FALSE(ended.exit);
  EXPECT_EQ(ended.exit.error().code(), ErrorCode::kUnavailable);
  EXPECT_NE(ended.exit.error().message().find("ended or was removed before the command's exit was seen"), std::string::npos);
  EXPECT_TRUE(execution->has_event());
  EXPECT_EQ(execution->next(milliseconds(0)).error().code(), ErrorCode::kUnavailable) << "the error stays";
}

TEST(ExecutionTest, GapsDuplicatesAndNonsenseBreakTheProtocol) {
  proto::SessionOutput unknown_stream = chunk(0, "x");
  unknown_stream.mutable_chunk()->set_stream(static_cast<proto::Chunk::Stream>(7));
  const std::vector<std::vector<proto::SessionOutput>> cases = {
      {chunk(1, "gap at the beginning")},
      {chunk(0, "abc"), chunk(4, "gap")},
      {chunk(0, "abc"), chunk(2, "again")},
      {chunk(0, "abc"), chunk(0, "abc")},
      {chunk(UINT64_MAX, "x")},
      {chunk(0, std::string(portal::kMaxChunk + 1, 'x'))},
      {proto::SessionOutput()},
      {unknown_stream},
      {exited(256)},
      {exited(-1)},
      {exited(0, 65)},
      {exited(1, 9)},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    FakeAgent agent(saying(cases[i]));
    auto execution = start_exec(agent.box(), command());
    ASSERT_TRUE(execution);
    const Ended ended = run_to_end(*execution);
    ASSERT_FALSE(ended.exit) << "case " << i;
    EXPECT_EQ(ended.exit.error().code(), ErrorCode::kCorrupt) << "case " << i << ": " << ended.exit.error().message();
  }
}

TEST(ExecutionTest, AnAttachedViewMaySkipOnlyBeforeItsFirstChunk) {
  std::promise<proto::Attach> seen;
  FakeAgent agent([&](const proto::Call& call, FakeConnection& connection) {
    seen.set_value(call.attach());
    connection.write(started("main"));
    connection.write(chunk(1000, "kept"));
    connection.write(chunk(20, "err", proto::Chunk::STDERR));
    connection.write(chunk(1004, "."));
    connection.write(chunk(1006, "gap"));
  });
  auto execution = attach_session(agent.box(), {.session_id = "main", .stdout_offset = 10, .stderr_offset = 20, .input = false});
  ASSERT_TRUE(execution) << execution.error().message();
  const Ended ended = run_to_end(*execution);
  EXPECT_EQ(ended.out, "kept.");
  EXPECT_EQ(ended.err, "err");
  EXPECT_FALSE(ended.exit);
  const proto::Attach attach = seen.get_future().get();
  EXPECT_EQ(attach.session_id(), "main");
  EXPECT_EQ(attach.stdout_offset(), 10U);
  EXPECT_EQ(attach.stderr_offset(), 20U);
  EXPECT_TRUE(attach.no_stdin());
  EXPECT_EQ(execution->write_stdin({}).error().code(), ErrorCode::kInvalidState);
}

TEST(ExecutionTest, AnAttachedViewMayNotGoBack) {
  FakeAgent agent(saying({chunk(9, "old")}));
  auto execution = attach_session(agent.box(), {.session_id = "main", .stdout_offset = 10, .stderr_offset = 0, .input = false});
  ASSERT_TRUE(execution);
  EXPECT_EQ(run_to_end(*execution).exit.error().code(), ErrorCode::kCorrupt);
}

/// Sends its input back, then exits 0 at the end of input.
void echo(const proto::Call&, FakeConnection& connection) {
  connection.write(started());
  std::uint64_t offset = 0;
  proto::SessionInput input;
  while (connection.read(input)) {
    if (input.has_eof()) {
      connection.write(exited(0));
      return;
    }
    connection.write(chunk(offset, input.data()));
    offset += input.data().size();
  }
}

TEST(ExecutionTest, InputOfAnySizeIsEchoedByACallerThatPolls) {
  FakeAgent agent(echo);
  auto execution = start_exec(agent.box(), command(true));
  ASSERT_TRUE(execution) << execution.error().message();
  std::string input(3'000'000, '\0');
  for (std::size_t i = 0; i < input.size(); ++i) input[i] = static_cast<char>(i * 7 + (i >> 11U));
  std::string output;
  std::size_t written = 0;
  bool over = false;
  while (!over) {
    if (written < input.size()) {
      const auto taken = execution->write_stdin(std::as_bytes(std::span(input)).subspan(written));
      ASSERT_TRUE(taken) << taken.error().message();
      written += *taken;
      if (written == input.size()) {
        ASSERT_TRUE(execution->close_stdin());
      }
    }
    if (!execution->has_event()) {
      const auto events = static_cast<short>(execution->wants_write() ? POLLIN | POLLOUT : POLLIN);
      ASSERT_NE(*sys::poll_one(execution->poll_fd(), events, kPatience), 0);
    }
    const auto event = execution->next(milliseconds(0));
    ASSERT_TRUE(event) << event.error().message();
    if (!*event) continue;
    if (const auto* piece = std::get_if<OutputChunk>(&**event))
      output += piece->data;
    else
      over = true;
  }
  EXPECT_TRUE(output == input);
  EXPECT_EQ(execution->write_stdin(std::as_bytes(std::span("x"))).error().code(), ErrorCode::kInvalidState)
      << "after close_stdin()";
}

TEST(ExecutionTest, InputThatNobodyReadsIsTakenUpToABoundAndHoldsNothingUp) {
  FakeAgent agent([](const proto::Call& call, FakeConnection& connection) {
    if (call.has_exec()) {
      connection.write(started());
      connection.write(chunk(0, "I do not read"));
      pollfd hung_up{connection.fd(), 0, 0};
      ::poll(&hung_up, 1, -1);
    } else {
      connection.write(ok());
    }
  });
  auto execution = start_exec(agent.box(), command(true));
  ASSERT_TRUE(execution);
  const std::string block(1 << 20, 'x');
  std::size_t total = 0;
  for (;;) {
    const auto taken = execution->write_stdin(std::as_bytes(std::span(block)));
    ASSERT_TRUE(taken);
    if (*taken == 0) break;
    total += *taken;
    ASSERT_LT(total, 8U << 20U);
  }
  EXPECT_GE(total, 256U << 10U);
  EXPECT_TRUE(execution->wants_write());
  const auto event = execution->next(kPatience);
  ASSERT_TRUE(event && *event);
  EXPECT_EQ(std::get<OutputChunk>(**event).data, "I do not read");
  EXPECT_TRUE(execution->signal(2)) << "a signal is not held up by queued input";
  EXPECT_TRUE(execution->close_stdin());
  EXPECT_TRUE(execution->next(milliseconds(0)).has_value());
}

TEST(ExecutionTest, QueuedInputIsSentByACallerThatHasNoRoomForOutput) {
  constexpr std::size_t kSize = 1'000'000;
  std::promise<std::size_t> read;
  FakeAgent agent([&](const proto::Call&, FakeConnection& connection) {
    connection.write(started());
    proto::SessionInput input;
    std::size_t size = 0;
    while (size < kSize && connection.read(input)) size += input.data().size();
    read.set_value(size);
  });
  auto execution = start_exec(agent.box(), command(true));
  ASSERT_TRUE(execution);
  const std::string input(kSize, 'x');
  std::size_t written = 0;
  while (written < kSize || execution->wants_write()) {
    if (written < kSize) written += *execution->write_stdin(std::as_bytes(std::span(input)).subspan(written));
    if (execution->wants_write()) {
      ASSERT_NE(*sys::poll_one(execution->poll_fd(), POLLOUT, kPatience), 0);
    }
  }
  EXPECT_EQ(read.get_future().get(), kSize);
}

TEST(ExecutionTest, TheExitIsSeenAlthoughInputCouldNotBeSentAnyMore) {
  std::promise<void> closed;
  FakeAgent agent([&](const proto::Call&, FakeConnection& connection) {
    connection.write(started());
    connection.write(chunk(0, "done"));
    connection.write(exited(0));
    connection.close();
    closed.set_value();
  });
  auto execution = start_exec(agent.box(), command(true));
  ASSERT_TRUE(execution);
  closed.get_future().wait();
  const std::string block(1 << 20, 'x');
  EXPECT_EQ(*execution->write_stdin(std::as_bytes(std::span(block))), block.size()) << "dropped, as there is no reader";
  EXPECT_FALSE(execution->wants_write());
  const Ended ended = run_to_end(*execution);
  ASSERT_TRUE(ended.exit) << ended.exit.error().message();
  EXPECT_EQ(ended.out, "done");
}

TEST(ExecutionTest, NextReturnsNothingWhenItsTimePasses) {
  FakeAgent agent(echo);
  auto execution = start_exec(agent.box(), command(true));
  ASSERT_TRUE(execution);
  const auto begin = std::chrono::steady_clock::now();
  const auto event = execution->next(milliseconds(30));
  ASSERT_TRUE(event);
  EXPECT_FALSE(*event);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(30));
}

TEST(ExecutionTest, SignalAndResizeAreCallsOfTheirOwn) {
  std::mutex mutex;
  std::vector<proto::Call> calls;
  FakeAgent agent([&](const proto::Call& call, FakeConnection& connection) {
    if (call.has_exec()) return echo(call, connection);
    {
      const std::lock_guard lock(mutex);
      calls.push_back(call);
    }
    connection.write(call.has_resize() && call.resize().rows() == 0 ? failure("invalid_argument", "no rows") : ok());
  });
  auto execution = start_exec(agent.box(), command(true));
  ASSERT_TRUE(execution);
  ASSERT_TRUE(execution->signal(15));
  ASSERT_TRUE(execution->resize(50, 132));
  EXPECT_EQ(execution->resize(0, 0).error().code(), ErrorCode::kInvalidArgument);
  const std::lock_guard lock(mutex);
  ASSERT_EQ(calls.size(), 3U);
  EXPECT_EQ(calls[0].signal().session_id(), "s1");
  EXPECT_EQ(calls[0].signal().signal(), 15);
  EXPECT_FALSE(calls[0].signal().whole_group());
  EXPECT_EQ(calls[1].resize().session_id(), "s1");
  EXPECT_EQ(calls[1].resize().rows(), 50U);
  EXPECT_EQ(calls[1].resize().cols(), 132U);
}

}  // namespace
}  // namespace boxlite

#include "runtime/control.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/unix_socket.h"
#include "runtime/fake_shim.h"
#include "runtime/ping.h"

namespace boxlite {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kControlPatience = std::chrono::seconds(60);

/// A shim that gives `answer` to every control call and then closes.
std::function<void(FakeConnection&)> answering(std::string answer) {
  return [answer = std::move(answer)](FakeConnection& connection) {
    connection.read_line();
    connection.read_line();
    connection.write(answer);
  };
}

void wait_for_end(FakeConnection& connection) {
  while (!connection.read_line().empty()) {
  }
}

TEST(ControlTest, ACallIsTwoLinesAndTheAnswerIsOne) {
  std::string first, second;
  FakeShim shim([&](FakeConnection& connection) {
    first = connection.read_line();
    second = connection.read_line();
    for (const char c : std::string("{\"ok\":true}\n")) connection.write(std::string(1, c));
  });
  const auto answer = control_call(shim.box_directory(), Json{{"call", "stop"}, {"grace_ms", 10}}, kControlPatience);
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(*answer, (Json{{"ok", true}}));
  EXPECT_EQ(first, "control 1\n");
  EXPECT_EQ(second, "{\"call\":\"stop\",\"grace_ms\":10}\n");
}

TEST(ControlTest, AnErrorOfTheShimKeepsItsCode) {
  FakeShim shim(answering("{\"error\":{\"code\":\"invalid_state\",\"message\":\"no main command yet\"}}\n"));
  const auto answer = control_call(shim.box_directory(), Json{{"call", "signal"}}, kControlPatience);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::kInvalidState);
  EXPECT_EQ(answer.error().message(), "no main command yet");
}

TEST(ControlTest, AnswersThatAreNoneAreTold) {
  const std::pair<std::string, ErrorCode> cases[] = {
      {"", ErrorCode::kUnavailable},
      {"{\"ok\":", ErrorCode::kUnavailable},
      {"no json\n", ErrorCode::kCorrupt},
      {"{\"error\":5}\n", ErrorCode::kCorrupt},
      {std::string(1 << 20, 'x'), ErrorCode::kCorrupt},
  };
  for (const auto& [text, code] : cases) {
    FakeShim shim(answering(text));
    const auto answer = control_call(shim.box_directory(), Json{{"call", "ping"}}, kControlPatience);
    ASSERT_FALSE(answer) << text.substr(0, 20);
    EXPECT_EQ(answer.error().code(), code) << text.substr(0, 20) << ": " << answer.error().message();
  }
}

TEST(ControlTest, AShimThatDoesNotAnswerIsUnavailableAfterTheTimeout) {
  FakeShim shim(wait_for_end);
  const auto begin = std::chrono::steady_clock::now();
  const auto answer = control_call(shim.box_directory(), Json{{"call", "ping"}}, milliseconds(50));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::kUnavailable);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(50));
}

TEST(ControlTest, AQuestionToASilentShimEndsWhenItIsInterrupted) {
  FakeShim shim(wait_for_end);
  const auto interrupt = sys::pipe();
  ASSERT_TRUE(interrupt && sys::write_all(interrupt->write_end.get(), std::string_view("!")));
  const auto begin = std::chrono::steady_clock::now();
  const auto answers = ping_shims({shim.box_directory()}, begin + kControlPatience, interrupt->read_end.get());
  EXPECT_EQ(answers.front().result, PingResult::kSilent);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kControlPatience / 2);
}

/// A shim in a process of its own, which takes a connection and computes for `busy` before it answers, or, with nothing to
/// compute, never does.
class ShimAtWork {
 public:
  explicit ShimAtWork(milliseconds busy) {
    const auto ready = sys::pipe();
    pid_ = ::fork();
    if (pid_ == 0) {
      const auto listener = listen_unix(directory_.path(), kPortalSocket);
      (void)sys::write_all(ready->write_end.get(), std::string_view("!"));
      (void)sys::poll_one(listener->get(), POLLIN, kControlPatience);
      const UniqueFd client(::accept(listener->get(), nullptr, nullptr));
      const auto end = std::chrono::steady_clock::now() + busy;
      while (std::chrono::steady_clock::now() < end) {
      }
      if (busy > milliseconds(0)) (void)sys::write_all(client.get(), std::string_view("{\"ok\":true}\n"));
      for (;;) ::pause();
    }
    (void)sys::poll_one(ready->read_end.get(), POLLIN, kControlPatience);
  }
  ShimAtWork(const ShimAtWork&) = delete;
  ShimAtWork& operator=(const ShimAtWork&) = delete;
  ~ShimAtWork() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  PingResult ping(milliseconds patience) const {
    return ping_shims({directory_.path()}, std::chrono::steady_clock::now() + patience).front().result;
  }

 private:
  TempDir directory_ = *TempDir::create("/tmp", "boxlite-control-test-");
  pid_t pid_ = -1;
};

TEST(ControlTest, AShimIsSilentWhenItDoesNotAnswerInTimeAndIsNotAtWork) {
  EXPECT_EQ(ShimAtWork(milliseconds(1000)).ping(milliseconds(200)), PingResult::kAnswered);
  EXPECT_EQ(ShimAtWork(milliseconds(0)).ping(milliseconds(200)), PingResult::kSilent);
}

TEST(ControlTest, WhereNobodyListensTheBoxIsUnavailable) {
  const TempDir dir = *TempDir::create("/tmp", "boxlite-control-test-");
  const auto absent = control_call(dir.path(), Json{{"call", "ping"}}, kControlPatience);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code(), ErrorCode::kUnavailable);
  listen_unix(dir.path(), kPortalSocket)->reset();
  const auto stale = open_agent_stream(dir.path());
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code(), ErrorCode::kUnavailable);
}

TEST(ControlTest, AnAgentStreamIsOneLineAndThenTheCallers) {
  std::string received;
  {
    FakeShim shim([&](FakeConnection& connection) {
      for (std::string line; !(line = connection.read_line()).empty();) received += line;
    });
    const auto socket = open_agent_stream(shim.box_directory());
    ASSERT_TRUE(socket) << socket.error().message();
    ASSERT_TRUE(sys::write_all(socket->get(), std::string_view("mine")));
  }
  EXPECT_EQ(received, "agent 1\nmine");
}

}  // namespace
}  // namespace boxlite

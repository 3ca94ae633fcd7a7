#include "cli/patient_call.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <future>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/sys.h"
#include "base/thread.h"
#include "cli/output.h"

namespace boxlite::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kGraceToAnswer{1};

[[noreturn]] void leave(std::string_view farewell, int signal) {
  print_error(farewell);
  ::_exit(128 + signal);  // the thread of the call still uses what the caller has on its stack
}

}  // namespace

bool asks_to_end(int signal) { return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT; }

Result<void> call_within(std::chrono::milliseconds patience, std::function<Result<void>()> call) {
  std::promise<Result<void>> promise;
  std::future<Result<void>> answer = promise.get_future();
  auto caller = start_thread([promise = std::move(promise), call = std::move(call)]() mutable { promise.set_value(call()); });
  if (!caller) return std::unexpected(std::move(caller).error());
  caller->detach();
  if (answer.wait_for(patience) == std::future_status::timeout) return fail(ErrorCode::kUnavailable, "the box does not answer");
  return answer.get();
}

void call_or_leave(SignalWatch& signals, std::string_view farewell, const std::function<void()>& call) {
  Result<sys::Pipe> done = sys::pipe();  // end-of-file: the call is done
  if (!done) return call();
  const auto caller = start_thread([&, over = std::move(done->write_end)]() mutable {
    call();
    over.reset();
  });
  if (!caller) return call();
  std::vector<int> seen;
  int ending = 0;
  Clock::time_point deadline;
  while (true) {
    int timeout_ms = -1;
    if (ending != 0) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      if (left.count() <= 0) leave(farewell, ending);
      timeout_ms = static_cast<int>(left.count());
    }
    std::array<pollfd, 2> fds = {{{done->read_end.get(), POLLIN, 0}, {signals.poll_fd(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), timeout_ms) < 0) continue;
    if (fds[0].revents != 0) break;
    const std::optional<int> signal = signals.next();
    if (!signal) continue;
    if (asks_to_end(*signal)) {
      if (ending != 0) leave(farewell, *signal);
      ending = *signal;
      deadline = Clock::now() + kGraceToAnswer;
    }
    seen.push_back(*signal);
  }
  // They are blocked in this thread: raised again, they wait for whoever reads `signals` next.
  for (const int signal : seen) ::raise(signal);
}

}  // namespace boxlite::cli

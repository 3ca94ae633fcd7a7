#include "cli/interruptible_start.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/sys.h"
#include "base/thread.h"
#include "cli/output.h"
#include "cli/patient_call.h"

namespace boxlite::cli {
namespace {

// A stop before the box's shim exists finds nothing to stop, so it is repeated until the start has come to its end.
constexpr std::chrono::milliseconds kStopAgain{50};

void stop_until_done(Box& box, int done) {
  while (sys::poll_one(done, POLLIN, kStopAgain).value_or(POLLHUP) == 0) (void)box.stop(std::chrono::seconds(0));
}

}  // namespace

Result<StartOutcome> start_interruptibly(Box& box, const StartOptions& options, SignalWatch& signals) {
  TRY_ASSIGN(sys::Pipe done, sys::pipe());  // end-of-file: the start is over
  StartOutcome outcome{std::nullopt};
  auto starter = start_thread([&, over = std::move(done.write_end)]() mutable {
    outcome.started = box.start(options);
    over.reset();
  });
  if (!starter) {
    outcome.started = std::unexpected(std::move(starter).error());
    return outcome;
  }
  std::jthread stopper;
  while (true) {
    std::array<pollfd, 2> fds = {{{done.read_end.get(), POLLIN, 0}, {signals.poll_fd(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) continue;
    if (fds[0].revents != 0) break;
    const std::optional<int> signal = signals.next();
    if (!signal || !asks_to_end(*signal)) continue;
    if (outcome.interrupted_by != 0) {
      print_error(fmt::format("box {} may still run; boxlite rm -f {} ends it", box.name(), box.name()));
      ::_exit(128 + *signal);
    }
    outcome.interrupted_by = *signal;
    if (auto thread = start_thread([&] { stop_until_done(box, done.read_end.get()); })) stopper = std::move(*thread);
  }
  starter->join();
  if (stopper.joinable()) stopper.join();
  return outcome;
}

}  // namespace boxlite::cli

#include "base/failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/failpoint_plan.h"
#include "base/unique_fd.h"

namespace boxlite {
namespace {

constexpr int kUsageStatus = 125;

std::string_view variable(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): before main()
  return value != nullptr ? value : "";
}

FailpointPlan plan_or_exit() {
  auto plan = FailpointPlan::parse(variable("BOXLITE_FAILPOINTS"));
  if (plan) return std::move(*plan);
  fmt::print(stderr, "{}: BOXLITE_FAILPOINTS: {}\n", program_invocation_short_name, plan.error().message());
  ::_exit(kUsageStatus);
}

UniqueFd open_trace() {
  const std::string path(variable("BOXLITE_FAILPOINTS_TRACE"));
  return UniqueFd(path.empty() ? -1 : ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
}

struct State {
  std::mutex mutex;
  FailpointPlan plan = plan_or_exit();
  // Opened before the program confines itself.
  UniqueFd trace = open_trace();
} state;  // NOLINT(cert-err58-cpp)

std::string_view name_of(const FailpointAction& action) {
  switch (action.kind) {
    case FailpointAction::Kind::kOff:
      return "off";
    case FailpointAction::Kind::kError:
      return action.error_number != 0 ? ::strerrorname_np(action.error_number) : "error";
    case FailpointAction::Kind::kKill9:
      return "kill9";
    case FailpointAction::Kind::kStop:
      return "stop";
  }
  return "";
}

void trace(std::string_view name, const FailpointAction& action) {
  if (!state.trace) return;
  const std::string line = fmt::format("{} {} {} {}\n", program_invocation_short_name, ::getpid(), name, name_of(action));
  // A line that is lost shows in the test as a place that was not reached.
  [[maybe_unused]] const ssize_t written = ::write(state.trace.get(), line.data(), line.size());
}

}  // namespace

Result<void> reach_failpoint(std::string_view name) {
  const std::lock_guard lock(state.mutex);
  const FailpointAction action = state.plan.next(name);
  trace(name, action);
  switch (action.kind) {
    case FailpointAction::Kind::kOff:
      break;
    case FailpointAction::Kind::kError:
      if (action.error_number == 0) return fail(ErrorCode::kInternal, "failpoint {} was reached", name);
      return std::unexpected(Error::from_errno(action.error_number, fmt::format("failpoint {}", name)));
    case FailpointAction::Kind::kKill9:
      ::kill(::getpid(), SIGKILL);
      break;
    case FailpointAction::Kind::kStop:
      ::raise(SIGSTOP);  // of this thread: one of another's lets this one go on until that has seen it
      break;
  }
  return {};
}

}  // namespace boxlite

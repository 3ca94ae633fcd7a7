// boxlite-image: see image_job.h for what it is told and what it answers.
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <csignal>

#include "base/json.h"
#include "base/sys.h"
#include "image/job.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kMaxRequest = 1024 * 1024;

volatile std::sig_atomic_t terminated = 0;

Result<void> write_line(const Json& json) { return sys::write_all(STDOUT_FILENO, dump_json(json) + "\n"); }

Result<JobRequest> read_request() {
  std::string text(kMaxRequest + 1, '\0');
  TRY_ASSIGN(const std::size_t count, sys::read_full(STDIN_FILENO, std::as_writable_bytes(std::span(text))));
  if (count > kMaxRequest) return fail(ErrorCode::kInvalidArgument, "image job request: longer than {} bytes", kMaxRequest);
  text.resize(count);
  TRY_ASSIGN(const Json json, parse_json(text, "image job request"));
  return job_request_from_json(json);
}

// A job nobody listens to has no purpose: the reader's end of the pipe is gone, or we were told to end.
bool interrupted() {
  if (terminated != 0) return true;
  pollfd out = {.fd = STDOUT_FILENO, .events = 0, .revents = 0};
  return ::poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

int run() {
  struct sigaction action = {};
  action.sa_handler = [](int) { terminated = 1; };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  JobMonitor monitor([](const JobProgress& progress) { return write_line(to_json(progress)); }, interrupted);
  const auto image = [&]() -> Result<ImageInfo> {
    TRY_ASSIGN(const JobRequest request, read_request());
    return run_job(request, monitor);
  }();
  if (!image) {
    (void)write_line(Json{{"event", "error"}, {"code", name(image.error().code())}, {"message", image.error().message()}});
    return 1;
  }
  return write_line(Json{{"event", "result"}, {"image", to_json(*image)}}) ? 0 : 1;
}

}  // namespace
}  // namespace boxlite::image

int main() { return boxlite::image::run(); }

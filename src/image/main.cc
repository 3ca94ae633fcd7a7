// boxlite-image: see image_job.h for what it is told and what it answers.
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>

#include "base/json.h"
#include "base/sys.h"
#include "image/curl_transport.h"
#include "image/job.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kMaxRequest = 16 * 1024 * 1024;  // an environment may have 6 MB

// Readable once the job was told to end, and never read: any number of threads may wait for that.
sys::Pipe terminated;  // NOLINT: a signal handler can reach nothing else

Result<void> write_line(const Json& json) { return sys::write_all(STDOUT_FILENO, dump_json(json) + "\n"); }

Result<JobRequest> read_request() {
  std::string text;
  std::array<char, 64 * 1024> buffer = {};
  for (;;) {
    TRY_ASSIGN(const std::size_t count, sys::read(STDIN_FILENO, std::as_writable_bytes(std::span(buffer))));
    if (count == 0) break;
    text.append(buffer.data(), count);
    if (text.size() > kMaxRequest)
      return fail(ErrorCode::kInvalidArgument, "image job request: longer than {} bytes", kMaxRequest);
  }
  TRY_ASSIGN(const Json json, parse_json(text, "image job request"));
  return job_request_from_json(json);
}

// A job nobody listens to has no purpose: the reader's end of the pipe is gone, or we were told to end.
bool interrupted_within(std::chrono::milliseconds time) {
  std::array<pollfd, 2> fds = {pollfd{.fd = STDOUT_FILENO, .events = 0, .revents = 0},
                               pollfd{.fd = terminated.read_end.get(), .events = POLLIN, .revents = 0}};
  return ::poll(fds.data(), fds.size(), static_cast<int>(time.count())) > 0;
}

Result<Json> run_request(JobMonitor& monitor) {
  TRY_ASSIGN(const JobRequest request, read_request());
  TRY(CurlTransport::initialise_library());
  TRY_ASSIGN(const std::vector<ImageInfo> images, run_job(request, monitor));
  return result_event(images);
}

int run() {
  auto pipe = sys::pipe();
  if (!pipe) return 1;
  terminated = std::move(*pipe);
  struct sigaction action = {};
  action.sa_handler = [](int) { (void)!::write(terminated.write_end.get(), "", 1); };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  JobMonitor monitor([](const JobProgress& progress) { return write_line(to_json(progress)); },
                     [] { return interrupted_within(std::chrono::milliseconds(0)); }, interrupted_within);
  const Result<Json> result = run_request(monitor);
  if (!result) {
    (void)write_line(Json{{"event", "error"}, {"code", name(result.error().code())}, {"message", result.error().message()}});
    return 1;
  }
  return write_line(*result) ? 0 : 1;
}

}  // namespace
}  // namespace boxlite::image

int main() {
  try {
    return boxlite::image::run();
  } catch (const std::exception& exception) {  // of a library, or no memory: the caller is told, as of any error
    (void)boxlite::image::write_line(boxlite::Json{{"event", "error"},
                                                   {"code", name(boxlite::ErrorCode::kInternal)},
                                                   {"message", fmt::format("boxlite-image: {}", exception.what())}});
    return 1;
  }
}

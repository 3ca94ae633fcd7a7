#include "runtime/image_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include <cstdlib>
#include <optional>

#include "base/process.h"
#include "base/sys.h"
#include "runtime/line_channel.h"
#include "runtime/programs.h"

namespace boxlite {
namespace {

constexpr std::string_view kEvent = "boxlite-image";

std::vector<std::string> job_environment() {
  std::vector<std::string> environment;
  // The proxy and certificate settings that every HTTP client of the user obeys; nothing else concerns the job.
  for (const char* name : {"PATH", "HOME", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "ALL_PROXY",
                           "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "BOXLITE_FAILPOINTS", "BOXLITE_FAILPOINTS_TRACE"}) {
    const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
    if (value != nullptr) environment.push_back(fmt::format("{}={}", name, value));
  }
  return environment;
}

// Handles one line of the job's output. The images once the job has them; nullopt: there is more to come.
Result<std::optional<std::vector<ImageInfo>>> take_event(const std::string& line,
                                                         const std::function<void(const PullProgress&)>& on_progress) {
  TRY_ASSIGN(const Json json, parse_json(line, kEvent));
  TRY_ASSIGN(const auto event, json_get<std::string>(json, "event", kEvent));
  if (event == "progress") {
    PullProgress progress;
    TRY_ASSIGN(progress.what, json_get<std::string>(json, "what", kEvent));
    TRY_ASSIGN(progress.done_bytes, json_get<std::uint64_t>(json, "done", kEvent));
    TRY_ASSIGN(progress.total_bytes, json_get<std::uint64_t>(json, "total", kEvent));
    if (on_progress) on_progress(progress);
    return std::nullopt;
  }
  if (event == "result") {
    std::vector<ImageInfo> images;
    TRY_ASSIGN(const Json list, json_get_or(json, "images", kEvent, Json::array()));
    for (const Json& item : list) {
      TRY_ASSIGN(ImageInfo image, image::image_info_from_json(item));
      images.push_back(std::move(image));
    }
    return images;
  }
  if (event == "error") {
    TRY_ASSIGN(const auto code, json_get<std::string>(json, "code", kEvent));
    TRY_ASSIGN(auto message, json_get<std::string>(json, "message", kEvent));
    return std::unexpected(Error(error_code_from_name(code), std::move(message)));
  }
  return fail(ErrorCode::kInternal, "boxlite-image sent an unknown event \"{}\"", event);
}

// Content that is not what it says cannot be mended here, whatever the job was.
Error with_next_step(Error error) {
  return error.code() == ErrorCode::kCorrupt ? error.advice("it has to be made anew where it comes from") : error;
}

}  // namespace

Result<UniqueFd> inheritable(int fd, const std::string& name) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return fail_errno("{}", name);
  return copy;
}

Result<JobOutcome> run_image_job(const HomePaths& paths, image::JobRequest request,
                                 const std::function<void(const PullProgress&)>& on_progress) {
  TRY_ASSIGN(const std::string program, find_own_program("boxlite-image"));
  TRY_ASSIGN(UniqueFd store, sys::open(image::store_lock_path(paths.home()), O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  TRY_ASSIGN(sys::SocketPair input, sys::socket_pair());
  TRY_ASSIGN(sys::Pipe output, sys::pipe());
  request.home = paths.home();
  request.store_lock_fd = store.get();
  std::vector<int> inherit = {store.get()};
  if (request.archive_fd >= 0) inherit.push_back(request.archive_fd);
  for (const image::JobMember& member : request.members) inherit.push_back(member.fd);
  TRY_ASSIGN(ChildProcess job, ChildProcess::spawn({.program = program,
                                                    .argv = {"boxlite-image"},
                                                    .environment = job_environment(),
                                                    .stdin_fd = input.b.get(),
                                                    .stdout_fd = output.write_end.get(),
                                                    .stderr_fd = -1,
                                                    .inherit = std::move(inherit),
                                                    .die_with_parent = true}));
  input.b.reset();
  output.write_end.reset();
  const auto run = [&]() -> Result<std::vector<ImageInfo>> {
    TRY(send_line(input.a.get(), dump_json(image::to_json(request))));
    ::shutdown(input.a.get(), SHUT_WR);
    LineReader lines(output.read_end.get());
    for (;;) {
      TRY_ASSIGN(const std::optional<std::string> line, lines.next(std::nullopt));
      if (!line)
        return fail(ErrorCode::kInternal,
                    "boxlite-image ended without a result; try again, and see whether memory is short here");
      TRY_ASSIGN(std::optional<std::vector<ImageInfo>> images, take_event(*line, on_progress));
      if (images) return std::move(*images);
    }
  };
  Result<std::vector<ImageInfo>> images = run();
  if (!images) (void)job.kill(SIGKILL);  // it may still be at it, when what failed is on this side
  TRY_ASSIGN(const ExitStatus status, job.wait());
  if (!images && images.error().code() == ErrorCode::kInternal && status.signal != 0 && status.signal != SIGKILL) {
    return fail(ErrorCode::kInternal, "boxlite-image was ended by signal {}", status.signal);
  }
  if (!images) return std::unexpected(with_next_step(std::move(images).error()));
  return JobOutcome{.images = std::move(*images), .store = OfdLock::adopt(std::move(store))};
}

}  // namespace boxlite

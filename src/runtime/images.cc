#include "runtime/images.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "base/process.h"
#include "base/sys.h"
#include "image/image_job.h"
#include "image/reference.h"
#include "runtime/line_channel.h"
#include "runtime/programs.h"

namespace boxlite {
namespace {

constexpr std::string_view kEvent = "boxlite-image";
constexpr std::uint64_t kMaxUnpackedBytes = std::uint64_t{20} << 30;  // all layers of an image together

std::string docker_config_path() {
  // NOLINTBEGIN(concurrency-mt-unsafe): read only
  if (const char* directory = std::getenv("DOCKER_CONFIG"); directory != nullptr && *directory != '\0') {
    return std::string(directory) + "/config.json";
  }
  const char* home = std::getenv("HOME");
  // NOLINTEND(concurrency-mt-unsafe)
  return home != nullptr && *home != '\0' ? std::string(home) + "/.docker/config.json" : std::string();
}

std::vector<std::string> job_environment() {
  std::vector<std::string> environment;
  // The proxy and certificate settings that every HTTP client of the user obeys; nothing else concerns the job.
  for (const char* name : {"PATH", "HOME", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "ALL_PROXY",
                           "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "BOXLITE_FAILPOINTS"}) {
    const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
    if (value != nullptr) environment.push_back(fmt::format("{}={}", name, value));
  }
  return environment;
}

// Handles one line of the job's output. The image once the job has it; nullopt: there is more to come.
Result<std::optional<ImageInfo>> take_event(const std::string& line, const PullOptions& options) {
  TRY_ASSIGN(const Json json, parse_json(line, kEvent));
  TRY_ASSIGN(const auto event, json_get<std::string>(json, "event", kEvent));
  if (event == "progress") {
    PullProgress progress;
    TRY_ASSIGN(progress.what, json_get<std::string>(json, "what", kEvent));
    TRY_ASSIGN(progress.done_bytes, json_get<std::uint64_t>(json, "done", kEvent));
    TRY_ASSIGN(progress.total_bytes, json_get<std::uint64_t>(json, "total", kEvent));
    if (options.on_progress) options.on_progress(progress);
    return std::nullopt;
  }
  if (event == "result") {
    TRY_ASSIGN(const Json image, json_get<Json>(json, "image", kEvent));
    return image::image_info_from_json(image);
  }
  if (event == "error") {
    TRY_ASSIGN(const auto code, json_get<std::string>(json, "code", kEvent));
    TRY_ASSIGN(auto message, json_get<std::string>(json, "message", kEvent));
    return std::unexpected(Error(error_code_from_name(code), std::move(message)));
  }
  return fail(ErrorCode::kInternal, "boxlite-image sent an unknown event \"{}\"", event);
}

Result<ImageInfo> run_job(const image::JobRequest& request, const PullOptions& options) {
  TRY_ASSIGN(const std::string program, find_own_program("boxlite-image"));
  TRY_ASSIGN(sys::SocketPair input, sys::socket_pair());
  TRY_ASSIGN(sys::Pipe output, sys::pipe());
  TRY_ASSIGN(ChildProcess job, ChildProcess::spawn({.program = program,
                                                    .argv = {"boxlite-image"},
                                                    .environment = job_environment(),
                                                    .stdin_fd = input.b.get(),
                                                    .stdout_fd = output.write_end.get(),
                                                    .stderr_fd = -1,
                                                    .die_with_parent = true}));
  input.b.reset();
  output.write_end.reset();
  const auto run = [&]() -> Result<ImageInfo> {
    TRY(send_line(input.a.get(), dump_json(image::to_json(request))));
    ::shutdown(input.a.get(), SHUT_WR);
    LineReader lines(output.read_end.get());
    for (;;) {
      TRY_ASSIGN(const std::optional<std::string> line, lines.next(std::nullopt));
      if (!line) return fail(ErrorCode::kInternal, "boxlite-image ended without a result");
      TRY_ASSIGN(std::optional<ImageInfo> image, take_event(*line, options));
      if (image) return std::move(*image);
    }
  };
  Result<ImageInfo> image = run();
  if (!image) (void)job.kill(SIGKILL);  // it may still be at it, when what failed is on this side
  TRY_ASSIGN(const ExitStatus status, job.wait());
  if (!image && image.error().code() == ErrorCode::kInternal && status.signal != 0 && status.signal != SIGKILL) {
    return fail(ErrorCode::kInternal, "boxlite-image was ended by signal {}", status.signal);
  }
  return image;
}

}  // namespace

Result<ImageInfo> pull_image(Context& context, const std::string& reference, const PullOptions& options) {
  TRY_ASSIGN(const image::Reference parsed, image::parse_reference(reference));
  image::JobRequest request;
  request.home = context.paths.home();
  request.reference = image::to_string(parsed);
  request.platform = options.platform;
  request.disk_bytes = kDefaultDiskBytes;
  request.max_unpacked_bytes = kMaxUnpackedBytes;
  if (options.credentials) {
    request.username = options.credentials->username;
    request.password = options.credentials->password;
  } else {
    request.docker_config = docker_config_path();
  }
  auto image = run_job(request, options);
  if (!image) return std::unexpected(std::move(image).error().context("pull " + request.reference));
  image->reference = request.reference;  // the name by which it will be asked for
  TRY(context.database.put_image(*image));
  return image;
}

Result<ImageInfo> ensure_image(Context& context, const std::string& reference, const PullOptions& options) {
  TRY_ASSIGN(const image::Reference parsed, image::parse_reference(reference));
  TRY_ASSIGN(std::optional<ImageInfo> image, context.database.image(image::to_string(parsed)));
  const bool here = image && image->platform == options.platform && ::access(context.paths.base(image->id).c_str(), R_OK) == 0;
  if (here) return std::move(*image);
  return pull_image(context, reference, options);
}

}  // namespace boxlite

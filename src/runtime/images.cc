#include "runtime/images.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "base/process.h"
#include "base/sys.h"
#include "image/image_job.h"
#include "image/reference.h"
#include "image/registry_config.h"
#include "runtime/line_channel.h"
#include "runtime/programs.h"

namespace boxlite {
namespace {

constexpr std::string_view kEvent = "boxlite-image";
constexpr std::uint64_t kMaxUnpackedBytes = std::uint64_t{20} << 30;  // all layers of an image together

std::string variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): read only
  return value != nullptr ? value : "";
}

// podman's places, then docker's.
std::vector<std::string> auth_files() {
  std::vector<std::string> files;
  const std::string chosen = variable("REGISTRY_AUTH_FILE");
  const std::string runtime_directory = variable("XDG_RUNTIME_DIR");
  const std::string docker = variable("DOCKER_CONFIG");
  const std::string home = variable("HOME");
  if (!chosen.empty()) files.push_back(chosen);
  if (chosen.empty() && !runtime_directory.empty()) files.push_back(runtime_directory + "/containers/auth.json");
  if (!docker.empty()) files.push_back(docker + "/config.json");
  if (docker.empty() && !home.empty()) files.push_back(home + "/.docker/config.json");
  return files;
}

// Over the job's stdin, not as its environment: that is for all to see what a job's libraries may obey.
std::vector<std::string> whole_environment() {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  return environment;
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

// Handles one line of the job's output. The result once the job has it; nullopt: there is more to come.
Result<std::optional<Json>> take_event(const std::string& line, const PullOptions& options) {
  TRY_ASSIGN(Json json, parse_json(line, kEvent));
  TRY_ASSIGN(const auto event, json_get<std::string>(json, "event", kEvent));
  if (event == "progress") {
    PullProgress progress;
    TRY_ASSIGN(progress.what, json_get<std::string>(json, "what", kEvent));
    TRY_ASSIGN(progress.done_bytes, json_get<std::uint64_t>(json, "done", kEvent));
    TRY_ASSIGN(progress.total_bytes, json_get<std::uint64_t>(json, "total", kEvent));
    if (options.on_progress) options.on_progress(progress);
    return std::nullopt;
  }
  if (event == "result") return json;
  if (event == "error") {
    TRY_ASSIGN(const auto code, json_get<std::string>(json, "code", kEvent));
    TRY_ASSIGN(auto message, json_get<std::string>(json, "message", kEvent));
    return std::unexpected(Error(error_code_from_name(code), std::move(message)));
  }
  return fail(ErrorCode::kInternal, "boxlite-image sent an unknown event \"{}\"", event);
}

Result<Json> run_job(const image::JobRequest& request, const PullOptions& options) {
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
  const auto run = [&]() -> Result<Json> {
    TRY(send_line(input.a.get(), dump_json(image::to_json(request))));
    ::shutdown(input.a.get(), SHUT_WR);
    LineReader lines(output.read_end.get());
    for (;;) {
      TRY_ASSIGN(const std::optional<std::string> line, lines.next(std::nullopt));
      if (!line) return fail(ErrorCode::kInternal, "boxlite-image ended without a result");
      TRY_ASSIGN(std::optional<Json> result, take_event(*line, options));
      if (result) return std::move(*result);
    }
  };
  Result<Json> result = run();
  if (!result) (void)job.kill(SIGKILL);  // it may still be at it, when what failed is on this side
  TRY_ASSIGN(const ExitStatus status, job.wait());
  if (!result && result.error().code() == ErrorCode::kInternal && status.signal != 0 && status.signal != SIGKILL) {
    return fail(ErrorCode::kInternal, "boxlite-image was ended by signal {}", status.signal);
  }
  return result;
}

Result<ImageInfo> pull_one(Context& context, const image::Reference& reference, const PullOptions& options) {
  image::JobRequest request;
  request.home = context.paths.home();
  request.reference = image::to_string(reference);
  request.platform = options.platform;
  request.disk_bytes = kDefaultDiskBytes;
  request.max_unpacked_bytes = kMaxUnpackedBytes;
  if (options.credentials) {
    request.username = options.credentials->username;
    request.password = options.credentials->password;
  } else {
    request.auth_files = auth_files();
    request.helper_environment = whole_environment();
  }
  const auto run = [&]() -> Result<ImageInfo> {
    TRY_ASSIGN(const Json result, run_job(request, options));
    TRY_ASSIGN(const Json image, json_get<Json>(result, "image", kEvent));
    return image::image_info_from_json(image);
  };
  auto image = run();
  if (!image) return std::unexpected(std::move(image).error().context("pull " + request.reference));
  image->reference = request.reference;  // the name by which it will be asked for
  TRY(context.database.put_image(*image));
  return image;
}

// What a name may mean in this home.
Result<std::vector<image::Reference>> meanings(Context& context, const std::string& reference) {
  TRY_ASSIGN(const image::RegistryConfig config, image::read_registry_config(context.paths.home()));
  return image::candidates(reference, config.search);
}

// The first registry that has it. One that does not answer ends the search: the image it may have must not be replaced by one of
// the same name from the next.
Result<ImageInfo> pull_first(Context& context, const std::vector<image::Reference>& candidates, const PullOptions& options) {
  std::string failures;
  for (std::size_t i = 0;; ++i) {
    auto image = pull_one(context, candidates.at(i), options);
    if (image) return image;
    const ErrorCode code = image.error().code();
    const bool last = i + 1 == candidates.size();
    const bool absent = code == ErrorCode::kNotFound || code == ErrorCode::kPermissionDenied;
    failures += (failures.empty() ? "" : "; ") + image.error().message();
    if (last || !absent) return std::unexpected(Error(code, failures));
  }
}

}  // namespace

Result<ImageInfo> pull_image(Context& context, const std::string& reference, const PullOptions& options) {
  TRY_ASSIGN(const auto candidates, meanings(context, reference));
  return pull_first(context, candidates, options);
}

Result<ImageInfo> ensure_image(Context& context, const std::string& reference, const PullOptions& options) {
  TRY_ASSIGN(const auto candidates, meanings(context, reference));
  if (options.policy == PullPolicy::kAlways) return pull_first(context, candidates, options);
  for (const image::Reference& candidate : candidates) {
    TRY_ASSIGN(std::optional<ImageInfo> image, context.database.image(image::to_string(candidate)));
    const bool here = image && image->platform == options.platform && ::access(context.paths.base(image->id).c_str(), R_OK) == 0;
    if (here) return std::move(*image);
  }
  if (options.policy == PullPolicy::kNever)
    return fail(ErrorCode::kNotFound, "image {} for {} is not here and --pull never forbids to get it; `boxlite pull {}` gets it",
                reference, options.platform, reference);
  return pull_first(context, candidates, options);
}

Result<void> login_registry(Context& context, const std::string& registry, const RegistryCredentials& credentials) {
  image::JobRequest request;
  request.action = "login";
  request.home = context.paths.home();
  request.reference = registry;
  request.username = credentials.username;
  request.password = credentials.password;
  TRY(run_job(request, {}));
  return {};
}

Result<void> logout_registry(Context& context, const std::string& registry) {
  image::JobRequest request;
  request.action = "logout";
  request.home = context.paths.home();
  request.reference = registry;
  TRY(run_job(request, {}));
  return {};
}

}  // namespace boxlite

#include "runtime/images.h"

#include <unistd.h>

#include <cstdlib>

#include "image/image_job.h"
#include "image/reference.h"
#include "image/registry_config.h"
#include "runtime/image_archive.h"
#include "runtime/image_process.h"

namespace boxlite {
namespace {

constexpr std::string_view kSha256 = "sha256:";
constexpr std::size_t kShortId = 12;  // where a name is as likely, only what `images` prints is an id

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

Result<HeldImage> pull_one(Context& context, const image::Reference& reference, const PullOptions& options) {
  image::JobRequest request;
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
  auto done = run_image_job(context.paths, request, options.on_progress);
  if (!done) {
    Error error = std::move(done).error();
    const bool named = error.message().find(request.reference) != std::string::npos;
    return std::unexpected(named ? std::move(error).context("pull") : std::move(error).context("pull " + request.reference));
  }
  if (done->images.size() != 1) return fail(ErrorCode::kInternal, "boxlite-image pulled {} images", done->images.size());
  ImageInfo& image = done->images.front();
  image.reference = request.reference;  // the name by which it will be asked for
  TRY(context.database.put_images(done->images));
  return HeldImage{.image = std::move(image), .store = std::move(done->store)};
}

// What a name may mean in this home.
Result<std::vector<image::Reference>> meanings(Context& context, const std::string& reference) {
  TRY_ASSIGN(const image::RegistryConfig config, image::read_registry_config(context.paths.home()));
  return image::candidates(reference, config.search);
}

// The first registry that has it. One that does not answer ends the search: the image it may have must not be replaced by one of
// the same name from the next.
Result<HeldImage> pull_first(Context& context, const std::vector<image::Reference>& candidates, const PullOptions& options) {
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

bool is_usable(const Context& context, const ImageInfo& image, const PullOptions& options) {
  return image.platform == options.platform && ::access(context.paths.base(image.id).c_str(), R_OK) == 0;
}

bool is_named_by_digest(const ImageInfo& image, const image::Reference& wanted) {
  const auto* name = std::get_if<image::RegistryReference>(&wanted);
  if (name == nullptr || !name->digest || image.manifest_digest != name->digest->text()) return false;
  const auto parsed = image::parse_reference(image.reference);
  const auto* own = parsed ? std::get_if<image::RegistryReference>(&*parsed) : nullptr;
  return own != nullptr && own->registry == name->registry && own->repository == name->repository;
}

// A layout is as near as a file: what is in it now is meant. To look costs little, as nothing that is here is read again. One
// that is gone does not take its image with it.
bool is_layout_here(const image::Reference& reference) {
  const auto* layout = std::get_if<image::LayoutReference>(&reference);
  return layout != nullptr && ::access(layout->directory.c_str(), F_OK) == 0;
}

}  // namespace

Result<std::optional<FoundImage>> find_image(const Database& database, const std::string& text, std::size_t min_digits) {
  const std::string_view digits = text.starts_with(kSha256) ? std::string_view(text).substr(kSha256.size()) : text;
  const bool may_be_id = digits.size() >= min_digits && digits.size() <= 64 &&
                         digits.find_first_not_of("0123456789abcdef") == std::string_view::npos && !digits.empty();
  auto parsed = image::parse_reference(text);
  if (!parsed && !may_be_id) return std::unexpected(std::move(parsed).error());
  TRY_ASSIGN(std::vector<ImageInfo> images, database.images());
  if (parsed) {
    for (ImageInfo& image : images) {
      if (image.reference == image::to_string(*parsed) || is_named_by_digest(image, *parsed)) {
        return FoundImage{.image = std::move(image), .by_id = false};
      }
    }
  }
  if (!may_be_id) return std::nullopt;
  std::optional<FoundImage> found;
  for (ImageInfo& image : images) {
    if (!image.id.substr(kSha256.size()).starts_with(digits)) continue;
    if (found && found->image.id != image.id) {
      return fail(ErrorCode::kInvalidArgument, "more than one image id begins with {}; give more of it", text);
    }
    found = FoundImage{.image = std::move(image), .by_id = true};
  }
  return found;
}

Result<FoundImage> require_image(const Database& database, const std::string& text) {
  TRY_ASSIGN(std::optional<FoundImage> found, find_image(database, text));
  if (found) return std::move(*found);
  return fail(ErrorCode::kNotFound, "no image {}; `boxlite images` lists them", text);
}

Result<OfdLock> share_image_store(const HomePaths& paths) {
  return OfdLock::acquire(image::store_lock_path(paths.home()), image::kStoreLockTimeout, OfdLock::Mode::kShared);
}

Result<HeldImage> pull_image(Context& context, const std::string& reference, const PullOptions& options) {
  TRY_ASSIGN(const auto candidates, meanings(context, reference));
  return pull_first(context, candidates, options);
}

Result<HeldImage> ensure_image(Context& context, const std::string& reference, const PullOptions& options) {
  if (reference.starts_with(kDirectoryImage)) return directory_image(context, reference.substr(kDirectoryImage.size()));
  TRY_ASSIGN(const auto candidates, meanings(context, reference));
  const bool look_anew = options.policy == PullPolicy::kMissing && is_layout_here(candidates.front());
  if (options.policy == PullPolicy::kAlways || look_anew) return pull_first(context, candidates, options);
  {
    TRY_ASSIGN(OfdLock store, share_image_store(context.paths));
    for (const image::Reference& candidate : candidates) {
      TRY_ASSIGN(std::optional<FoundImage> found, find_image(context.database, image::to_string(candidate)));
      if (found && is_usable(context, found->image, options)) {
        return HeldImage{.image = std::move(found->image), .store = std::move(store)};
      }
    }
    TRY_ASSIGN(std::optional<FoundImage> found, find_image(context.database, reference, kShortId));
    if (found && found->by_id && is_usable(context, found->image, options)) {
      return HeldImage{.image = std::move(found->image), .store = std::move(store)};
    }
  }
  if (options.policy == PullPolicy::kNever)
    return fail(ErrorCode::kNotFound, "image {} for {} is not here and --pull never forbids to get it; `boxlite pull {}` gets it",
                reference, options.platform, reference);
  return pull_first(context, candidates, options);
}

Result<void> login_registry(Context& context, const std::string& registry, const RegistryCredentials& credentials) {
  image::JobRequest request;
  request.kind = image::JobKind::kLogin;
  request.reference = registry;
  request.username = credentials.username;
  request.password = credentials.password;
  TRY(run_image_job(context.paths, request, {}));
  return {};
}

Result<void> logout_registry(Context& context, const std::string& registry) {
  image::JobRequest request;
  request.kind = image::JobKind::kLogout;
  request.reference = registry;
  TRY(run_image_job(context.paths, request, {}));
  return {};
}

}  // namespace boxlite

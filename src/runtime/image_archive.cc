#include "runtime/image_archive.h"

#include <filesystem>

#include "image/reference.h"
#include "runtime/image_process.h"

namespace boxlite {
namespace {

image::JobRequest archive_request(image::JobKind kind, const UniqueFd& fd, const std::string& name) {
  image::JobRequest request;
  request.kind = kind;
  request.disk_bytes = kDefaultDiskBytes;
  request.max_unpacked_bytes = kMaxUnpackedBytes;
  request.archive_fd = fd.get();
  request.archive_name = name;
  return request;
}

// The job has parsed what somebody sent: its names are looked at once more.
Result<void> check_names(const std::vector<ImageInfo>& images) {
  for (const ImageInfo& image : images) {
    if (image.reference == image.id) continue;
    const auto parsed = image::parse_reference(image.reference);
    if (!parsed || image::to_string(*parsed) != image.reference) {
      return fail(ErrorCode::kInternal, "boxlite-image made an image of the impossible name \"{}\"", image.reference);
    }
  }
  return {};
}

}  // namespace

Result<std::vector<ImageInfo>> load_images(Context& context, int fd, const std::string& name) {
  TRY_ASSIGN(const UniqueFd archive, inheritable(fd, name));
  TRY_ASSIGN(JobOutcome done, run_image_job(context.paths, archive_request(image::JobKind::kLoad, archive, name), {}));
  TRY(check_names(done.images));
  TRY(context.database.put_images(done.images));
  return std::move(done.images);
}

Result<ImageInfo> import_image(Context& context, int fd, const std::string& name, const ImportOptions& options) {
  TRY_ASSIGN(const UniqueFd archive, inheritable(fd, name));
  image::JobRequest request = archive_request(image::JobKind::kImport, archive, name);
  request.changes = options.changes;
  if (!options.reference.empty()) {
    TRY_ASSIGN(const image::Reference parsed, image::parse_reference(options.reference));
    const auto* registry = std::get_if<image::RegistryReference>(&parsed);
    if (registry == nullptr || registry->digest) {
      return fail(ErrorCode::kInvalidArgument, "\"{}\" cannot be given as a name; use NAME[:TAG]", options.reference);
    }
    request.reference = image::to_string(parsed);
  }
  TRY_ASSIGN(JobOutcome done, run_image_job(context.paths, std::move(request), {}));
  if (done.images.size() != 1) return fail(ErrorCode::kInternal, "boxlite-image imported {} images", done.images.size());
  TRY(check_names(done.images));
  TRY(context.database.put_images(done.images));
  return std::move(done.images.front());
}

Result<void> save_images(Context& context, const std::vector<std::string>& references, int fd, const std::string& name) {
  TRY_ASSIGN(const UniqueFd archive, inheritable(fd, name));
  image::JobRequest request = archive_request(image::JobKind::kSave, archive, name);
  for (const std::string& reference : references) {
    TRY_ASSIGN(FoundImage found, require_image(context.database, reference));
    if (found.by_id) found.image.reference = found.image.id;  // docker's rule: asked for by id, it is saved without a name
    request.images.push_back(std::move(found.image));
  }
  TRY(run_image_job(context.paths, std::move(request), {}));
  return {};
}

Result<HeldImage> directory_image(Context& context, const std::string& directory) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(directory, error);
  if (error || directory.empty()) return fail(ErrorCode::kInvalidArgument, "--rootfs \"{}\" names no directory", directory);
  image::JobRequest request;
  request.kind = image::JobKind::kDirectory;
  request.disk_bytes = kDefaultDiskBytes;
  request.max_unpacked_bytes = kMaxUnpackedBytes;
  request.directory = absolute.string();
  request.keep_blobs = false;
  TRY_ASSIGN(JobOutcome done, run_image_job(context.paths, std::move(request), {}));
  if (done.images.size() != 1) return fail(ErrorCode::kInternal, "boxlite-image made {} images", done.images.size());
  ImageInfo& image = done.images.front();
  image.reference = std::string(kDirectoryImage) + absolute.string();
  return HeldImage{.image = std::move(image), .store = std::move(done.store)};
}

}  // namespace boxlite

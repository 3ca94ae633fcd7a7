#include "image/archive_job.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <variant>

#include "base/json.h"
#include "base/sys.h"
#include "image/directory_tar.h"
#include "image/image_change.h"
#include "image/image_config.h"
#include "image/reference.h"
#include "image/sha256.h"
#include "image/spooled_archive.h"
#include "image/staging.h"

namespace boxlite::image {
namespace {

using Strings = std::vector<std::string>;

constexpr std::size_t kMaxImages = 1000;
// An archive holds several images, of which each may unpack to the request's limit.
constexpr std::uint64_t kArchiveFactor = 8;
constexpr std::string_view kManifestType = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view kIndexType = "application/vnd.oci.image.index.v1+json";
constexpr std::string_view kConfigType = "application/vnd.oci.image.config.v1+json";
constexpr std::string_view kLayerType = "application/vnd.oci.image.layer.v1.tar";

struct NamedImage {
  StagedImage image;
  Strings references;
};

Json descriptor(std::string_view type, const SpooledFile& file) {
  return {{"mediaType", type}, {"digest", file.digest.text()}, {"size", file.size}};
}

// The file becomes one of the job's blobs.
Result<void> adopt(Staging& staging, const Digest& digest) {
  if (staging.has(digest)) return {};
  TRY_ASSIGN(const UniqueFd fd, sys::open(staging.path(digest), O_RDONLY | O_NOFOLLOW));
  TRY(sys::fsync(fd.get(), staging.path(digest)));
  staging.add(digest);
  return {};
}

Result<std::string> layer_type(const std::string& path) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_RDONLY | O_NOFOLLOW));
  std::array<std::byte, 2> magic = {};
  TRY(sys::read_full(fd.get(), magic));
  if (magic[0] == std::byte{0x1f} && magic[1] == std::byte{0x8b}) return std::string(kLayerType) + "+gzip";
  if (magic[0] == std::byte{0x28} && magic[1] == std::byte{0xb5}) return std::string(kLayerType) + "+zstd";
  return std::string(kLayerType);
}

// An image from its configuration and layers, which lie in the job's directory: the manifest is ours.
Result<StagedImage> assemble(Staging& staging, const std::string& name, const SpooledFile& config, std::string_view config_bytes,
                             const std::vector<SpooledFile>& layers) {
  Json list = Json::array();
  for (const SpooledFile& layer : layers) {
    TRY_ASSIGN(const std::string type, layer_type(staging.path(layer.digest)));
    list.push_back(descriptor(type, layer));
    TRY(adopt(staging, layer.digest));
  }
  TRY(adopt(staging, config.digest));
  const std::string bytes = dump_json({{"schemaVersion", 2},
                                       {"mediaType", kManifestType},
                                       {"config", descriptor(kConfigType, config)},
                                       {"layers", std::move(list)}});
  TRY_ASSIGN(auto manifest, parse_manifest(bytes, kManifestType, name));
  TRY_ASSIGN(ConfigDocument document, parse_image_config(config_bytes, name));
  const Digest digest = sha256(bytes);
  TRY(staging.keep(bytes, digest, name));
  StagedImage image{.name = name,
                    .manifest_digest = digest,
                    .manifest = std::move(std::get<Manifest>(manifest)),
                    .config = std::move(document)};
  TRY(staging.check(image));
  return image;
}

Result<std::string> full_name(const std::string& text, const std::string& archive) {
  auto parsed = parse_reference(text);
  if (!parsed) return std::unexpected(std::move(parsed).error().context(archive));
  const auto* name = std::get_if<RegistryReference>(&*parsed);
  if (name == nullptr || name->digest) return fail(ErrorCode::kCorrupt, "{}: \"{}\" is not the name of an image", archive, text);
  return to_string(*parsed);
}

Result<std::vector<NamedImage>> docker_images(const SpooledArchive& archive, const JobRequest& request, Staging& staging) {
  const std::string& name = request.archive_name;
  const std::string what = name + ": manifest.json";
  TRY_ASSIGN(const std::string bytes, archive.contents("manifest.json", kMaxManifestBytes));
  TRY_ASSIGN(const Json items, parse_json(bytes, what));
  if (!items.is_array() || items.empty() || items.size() > kMaxImages) {
    return fail(ErrorCode::kCorrupt, "{} is not a list of 1 to {} images", what, kMaxImages);
  }
  std::vector<NamedImage> images;
  for (const Json& item : items) {
    TRY_ASSIGN(const auto config_path, json_get<std::string>(item, "Config", what));
    TRY_ASSIGN(const auto layer_paths, json_get_or(item, "Layers", what, Strings()));
    TRY_ASSIGN(const auto tags, json_get_or(item, "RepoTags", what, Strings()));
    if (layer_paths.size() > kMaxLayers) return fail(ErrorCode::kCorrupt, "{}: more than {} layers", what, kMaxLayers);
    TRY_ASSIGN(const SpooledFile config, archive.find(config_path));
    TRY_ASSIGN(const std::string config_bytes, archive.contents(config_path, kMaxConfigBytes));
    std::vector<SpooledFile> layers;
    for (const std::string& path : layer_paths) {
      TRY_ASSIGN(SpooledFile layer, archive.find(path));
      layers.push_back(std::move(layer));
    }
    TRY_ASSIGN(StagedImage image, assemble(staging, name, config, config_bytes, layers));
    NamedImage named{.image = std::move(image), .references = {}};
    for (const std::string& tag : tags) {
      TRY_ASSIGN(std::string reference, full_name(tag, what));
      named.references.push_back(std::move(reference));
    }
    images.push_back(std::move(named));
  }
  return images;
}

class LayoutArchive {
 public:
  LayoutArchive(const SpooledArchive& archive, const JobRequest& request, Staging& staging)
      : archive_(archive), name_(request.archive_name), platform_text_(request.platform), staging_(staging) {}

  Result<std::vector<NamedImage>> images() {
    TRY_ASSIGN(platform_, parse_platform(platform_text_));
    TRY_ASSIGN(const std::string bytes, archive_.contents("index.json", kMaxManifestBytes));
    TRY_ASSIGN(const auto parsed, parse_manifest(bytes, kIndexType, name_ + ": index.json"));
    const Index& index = std::get<Index>(parsed);
    std::vector<NamedImage> result;
    for (const Descriptor& entry : index.manifests) {
      if (entry.platform && !select_platform(Index{{entry}}, *platform_, name_))
        continue;  // an attestation, or another machine's
      TRY_ASSIGN(NamedImage image, take(entry));
      const auto same = std::ranges::find(result, image.image.manifest_digest,
                                          [](const NamedImage& other) { return other.image.manifest_digest; });
      if (same == result.end()) {
        result.push_back(std::move(image));
      } else {
        same->references.insert(same->references.end(), image.references.begin(), image.references.end());
      }
      if (result.size() > kMaxImages) return fail(ErrorCode::kCorrupt, "{} holds more than {} images", name_, kMaxImages);
    }
    if (!result.empty()) return result;
    if (!index.manifests.empty()) TRY(select_platform(index, *platform_, name_));  // says what there is
    return fail(ErrorCode::kNotFound, "{} holds no image", name_);
  }

 private:
  Result<SpooledFile> blob(const Descriptor& wanted) const {
    const std::string path = "blobs/sha256/" + wanted.digest.hex();
    TRY_ASSIGN(SpooledFile file, archive_.find(path));
    if (file.digest == wanted.digest && file.size == wanted.size) return file;
    return fail(ErrorCode::kCorrupt, "{}: {} has the wrong digest: its contents are {} ({} bytes)", name_, path,
                file.digest.text(), file.size);
  }

  Result<NamedImage> take(const Descriptor& entry) {
    Descriptor at = entry;
    for (int depth = 0; depth < 3; ++depth) {
      TRY(blob(at));
      TRY_ASSIGN(const std::string bytes, archive_.contents("blobs/sha256/" + at.digest.hex(), kMaxManifestBytes));
      TRY_ASSIGN(auto parsed, parse_manifest(bytes, at.media_type, name_));
      if (auto* index = std::get_if<Index>(&parsed)) {
        TRY_ASSIGN(at, select_platform(*index, *platform_, name_));
        continue;
      }
      TRY_ASSIGN(StagedImage image, stage(at.digest, std::move(std::get<Manifest>(parsed))));
      TRY_ASSIGN(Strings references, names_of(entry));
      return NamedImage{.image = std::move(image), .references = std::move(references)};
    }
    return fail(ErrorCode::kCorrupt, "{}: indexes are nested too deeply", name_);
  }

  Result<StagedImage> stage(const Digest& digest, Manifest manifest) {
    TRY(blob(manifest.config));
    TRY_ASSIGN(const std::string bytes, archive_.contents("blobs/sha256/" + manifest.config.digest.hex(), kMaxConfigBytes));
    TRY_ASSIGN(ConfigDocument config, parse_image_config(bytes, name_));
    StagedImage image{.name = name_, .manifest_digest = digest, .manifest = std::move(manifest), .config = std::move(config)};
    TRY(staging_.check(image));
    for (const Descriptor& layer : image.manifest.layers) {
      TRY(blob(layer));
      TRY(adopt(staging_, layer.digest));
    }
    TRY(adopt(staging_, image.manifest.config.digest));
    TRY(adopt(staging_, digest));
    return image;
  }

  // The whole name as containerd and docker write it; else what podman and skopeo write, unless that is a tag alone.
  Result<Strings> names_of(const Descriptor& entry) const {
    const bool is_name = entry.name.find_first_of("/:") != std::string::npos;
    const std::string text = !entry.image_name.empty() ? entry.image_name : is_name ? entry.name : std::string();
    if (text.empty()) return Strings();
    TRY_ASSIGN(std::string reference, full_name(text, name_ + ": index.json"));
    return Strings{std::move(reference)};
  }

  const SpooledArchive& archive_;
  const std::string& name_;
  const std::string& platform_text_;
  Staging& staging_;
  std::optional<Platform> platform_;
};

Result<std::vector<ImageInfo>> commit(Staging& staging, const std::vector<NamedImage>& named) {
  std::vector<StagedImage> images;
  images.reserve(named.size());
  for (const NamedImage& item : named) images.push_back(item.image);
  TRY(staging.commit(images));
  std::vector<ImageInfo> infos;
  for (const NamedImage& item : named) {
    Strings references = item.references;
    if (references.empty()) references.push_back(item.image.manifest.config.digest.text());
    for (const std::string& reference : references) {
      TRY_ASSIGN(ImageInfo info, staging.info(item.image, reference));
      infos.push_back(std::move(info));
    }
  }
  return infos;
}

// An image of one layer, which is a whole root file system.
Result<std::vector<ImageInfo>> make_image(Staging& staging, const JobRequest& request, const std::string& name,
                                          const SpooledFile& layer, const Json& config, const std::string& created) {
  TRY_ASSIGN(const Platform platform, parse_platform(request.platform));
  Json document = {{"architecture", platform.architecture},
                   {"os", platform.os},
                   {"config", config},
                   {"rootfs", {{"type", "layers"}, {"diff_ids", Json::array({layer.digest.text()})}}}};
  if (!created.empty()) {
    document["created"] = created;
    document["history"] = Json::array({{{"created", created}, {"comment", "Imported from " + request.archive_name}}});
  }
  const std::string bytes = dump_json(document);
  const SpooledFile file{.digest = sha256(bytes), .size = bytes.size()};
  TRY(staging.keep(bytes, file.digest, name));
  TRY_ASSIGN(StagedImage image, assemble(staging, name, file, bytes, {layer}));
  NamedImage named{.image = std::move(image), .references = {}};
  if (!request.reference.empty()) named.references.push_back(request.reference);
  return commit(staging, {std::move(named)});
}

}  // namespace

Result<std::vector<ImageInfo>> load_archive(const JobRequest& request, JobMonitor& monitor) {
  TRY_ASSIGN(Staging staging, Staging::create(request, monitor));
  TRY_ASSIGN(const SpooledArchive archive, SpooledArchive::read(request.archive_fd, request.archive_name, staging.directory(),
                                                                request.max_unpacked_bytes * kArchiveFactor, monitor));
  if (archive.has("manifest.json")) {
    TRY_ASSIGN(const std::vector<NamedImage> images, docker_images(archive, request, staging));
    return commit(staging, images);
  }
  if (archive.has("index.json")) {
    TRY_ASSIGN(const std::vector<NamedImage> images, LayoutArchive(archive, request, staging).images());
    return commit(staging, images);
  }
  return fail(ErrorCode::kInvalidArgument,
              "{} is not an archive of images: it holds neither manifest.json nor index.json; for a root file system there is "
              "boxlite import",
              request.archive_name);
}

Result<std::vector<ImageInfo>> import_root(const JobRequest& request, JobMonitor& monitor) {
  Json config = Json::object();
  for (const std::string& change : request.changes) TRY(apply_change(change, config));
  TRY_ASSIGN(Staging staging, Staging::create(request, monitor));
  TRY_ASSIGN(const SpooledFile layer, spool_uncompressed(request.archive_fd, request.archive_name, staging.directory(),
                                                         request.max_unpacked_bytes, monitor));
  TRY(check_tar(staging.directory() + "/" + layer.digest.hex(), request.archive_name));
  return make_image(staging, request, request.archive_name, layer, config, sys::utc_now());
}

Result<std::vector<ImageInfo>> import_directory(const JobRequest& request, JobMonitor& monitor) {
  TRY_ASSIGN(Staging staging, Staging::create(request, monitor));
  TRY_ASSIGN(const SpooledFile layer,
             tar_directory(request.directory, request.home, staging.directory(), request.max_unpacked_bytes, monitor));
  return make_image(staging, request, "--rootfs " + request.directory, layer, Json::object(), "");
}

}  // namespace boxlite::image

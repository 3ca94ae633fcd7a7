#include "image/manifest.h"

#include <algorithm>
#include <array>

#include "base/json.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kMaxIndexEntries = 4096;
constexpr std::uint64_t kMaxBlobBytes = std::uint64_t{1} << 42;
constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
constexpr std::string_view kDockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::string_view kDockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr std::array<std::string_view, 2> kConfigTypes = {"application/vnd.oci.image.config.v1+json",
                                                          "application/vnd.docker.container.image.v1+json"};
constexpr std::array<std::string_view, 8> kLayerTypes = {"application/vnd.oci.image.layer.v1.tar",
                                                         "application/vnd.oci.image.layer.v1.tar+gzip",
                                                         "application/vnd.oci.image.layer.v1.tar+zstd",
                                                         "application/vnd.oci.image.layer.nondistributable.v1.tar",
                                                         "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                                                         "application/vnd.docker.image.rootfs.diff.tar",
                                                         "application/vnd.docker.image.rootfs.diff.tar.gzip",
                                                         "application/vnd.docker.image.rootfs.diff.tar.zstd"};

enum class Family { kManifest, kIndex };

std::optional<Family> family_of(std::string_view media_type) {
  if (media_type == kOciManifest || media_type == kDockerManifest) return Family::kManifest;
  if (media_type == kOciIndex || media_type == kDockerList) return Family::kIndex;
  return std::nullopt;
}

Result<Platform> platform_from_json(const Json& json, std::string_view what) {
  Platform platform;
  TRY_ASSIGN(platform.os, json_get_or(json, "os", what, std::string()));
  TRY_ASSIGN(platform.architecture, json_get_or(json, "architecture", what, std::string()));
  TRY_ASSIGN(platform.variant, json_get_or(json, "variant", what, std::string()));
  return platform;
}

Result<Descriptor> descriptor_from_json(const Json& json, std::string_view what) {
  TRY_ASSIGN(const std::string digest_text, json_get<std::string>(json, "digest", what));
  TRY_ASSIGN(Digest digest, Digest::parse(digest_text, what));
  TRY_ASSIGN(std::string media_type, json_get<std::string>(json, "mediaType", what));
  TRY_ASSIGN(const std::uint64_t size, json_get<std::uint64_t>(json, "size", what));
  if (size > kMaxBlobBytes) return fail(ErrorCode::kCorrupt, "{}: {} claims to have {} bytes", what, digest_text, size);
  Descriptor descriptor{.media_type = std::move(media_type),
                        .digest = std::move(digest),
                        .size = size,
                        .platform = {},
                        .name = {},
                        .image_name = {}};
  if (const auto it = json.find("platform"); it != json.end() && it->is_object()) {
    TRY_ASSIGN(descriptor.platform, platform_from_json(*it, what));
  }
  if (const auto it = json.find("annotations"); it != json.end() && it->is_object()) {
    TRY_ASSIGN(descriptor.name, json_get_or(*it, "org.opencontainers.image.ref.name", what, std::string()));
    TRY_ASSIGN(descriptor.image_name, json_get_or(*it, "io.containerd.image.name", what, std::string()));
  }
  return descriptor;
}

Result<Manifest> manifest_from_json(const Json& json, std::string_view what) {
  TRY_ASSIGN(const Json config_json, json_get<Json>(json, "config", what));
  TRY_ASSIGN(Descriptor config, descriptor_from_json(config_json, what));
  if (std::ranges::find(kConfigTypes, config.media_type) == kConfigTypes.end()) {
    return fail(ErrorCode::kUnsupported, "{} is not a container image: its configuration is of type \"{}\"", what,
                config.media_type);
  }
  Manifest manifest{.config = std::move(config), .layers = {}};
  TRY_ASSIGN(const Json layers, json_get<Json>(json, "layers", what));
  if (!layers.is_array() || layers.size() > kMaxLayers) {
    return fail(ErrorCode::kCorrupt, "{}: \"layers\" is not a list of at most {}", what, kMaxLayers);
  }
  for (const Json& layer : layers) {
    TRY_ASSIGN(Descriptor descriptor, descriptor_from_json(layer, what));
    if (std::ranges::find(kLayerTypes, descriptor.media_type) == kLayerTypes.end()) {
      return fail(ErrorCode::kUnsupported, "{}: layer {} is of type \"{}\", which is not supported", what,
                  descriptor.digest.text(), descriptor.media_type);
    }
    manifest.layers.push_back(std::move(descriptor));
  }
  return manifest;
}

Result<Index> index_from_json(const Json& json, std::string_view what) {
  TRY_ASSIGN(const Json entries, json_get<Json>(json, "manifests", what));
  if (!entries.is_array() || entries.size() > kMaxIndexEntries) {
    return fail(ErrorCode::kCorrupt, "{}: \"manifests\" is not a list of at most {}", what, kMaxIndexEntries);
  }
  Index index;
  for (const Json& entry : entries) {
    TRY_ASSIGN(Descriptor descriptor, descriptor_from_json(entry, what));
    index.manifests.push_back(std::move(descriptor));
  }
  return index;
}

bool matches(const Platform& offered, const Platform& wanted) {
  return offered.os == wanted.os && offered.architecture == wanted.architecture &&
         (wanted.variant.empty() || offered.variant.empty() || offered.variant == wanted.variant);
}

}  // namespace

Result<Platform> parse_platform(std::string_view text) {
  const auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '/'; };
  const std::size_t first = text.find('/');
  const std::size_t second = first == std::string_view::npos ? first : text.find('/', first + 1);
  Platform platform{.os = std::string(text.substr(0, first)), .architecture = {}, .variant = {}};
  if (first != std::string_view::npos) platform.architecture = text.substr(first + 1, second - first - 1);
  if (second != std::string_view::npos) platform.variant = text.substr(second + 1);
  if (platform.os.empty() || platform.architecture.empty() || platform.variant.find('/') != std::string::npos ||
      text.ends_with('/') || !std::ranges::all_of(text, fits)) {
    return fail(ErrorCode::kInvalidArgument, "platform \"{}\" is not of the form OS/ARCH or OS/ARCH/VARIANT, like linux/amd64",
                text);
  }
  if (platform.architecture == "x86_64") platform.architecture = "amd64";
  if (platform.architecture == "aarch64") platform.architecture = "arm64";
  return platform;
}

std::string to_string(const Platform& platform) {
  return fmt::format("{}/{}{}{}", platform.os, platform.architecture, platform.variant.empty() ? "" : "/", platform.variant);
}

std::vector<std::string> accepted_manifest_types() {
  return {std::string(kOciManifest), std::string(kOciIndex), std::string(kDockerManifest), std::string(kDockerList)};
}

Result<std::variant<Manifest, Index>> parse_manifest(std::string_view bytes, std::string_view announced_type,
                                                     std::string_view what) {
  if (bytes.size() > kMaxManifestBytes)
    return fail(ErrorCode::kCorrupt, "{}: the manifest is larger than {} bytes", what, kMaxManifestBytes);
  TRY_ASSIGN(const Json json, parse_json(bytes, what));
  if (!json.is_object()) return fail(ErrorCode::kCorrupt, "{}: the manifest is not a JSON object", what);
  TRY_ASSIGN(const std::uint64_t version, json_get<std::uint64_t>(json, "schemaVersion", what));
  if (version != 2)
    return fail(ErrorCode::kUnsupported, "{} has a manifest of schema version {}; only 2 is supported", what, version);
  if (json.contains("manifests") && (json.contains("layers") || json.contains("config"))) {
    return fail(ErrorCode::kCorrupt, "{} is ambiguous, a manifest and an index in one (CVE-2021-41190): refused", what);
  }

  const std::string_view announced = announced_type.substr(0, announced_type.find_first_of("; "));
  TRY_ASSIGN(const std::string inside, json_get_or(json, "mediaType", what, std::string()));
  const std::optional<Family> family = family_of(announced.empty() ? std::string_view(inside) : announced);
  if (!family) {
    return fail(ErrorCode::kUnsupported, "{} is of type \"{}\", which is not a container image", what,
                announced.empty() ? inside : announced);
  }
  if (!inside.empty() && family_of(inside) != family) {
    return fail(ErrorCode::kCorrupt, "{} was announced as \"{}\" and calls itself \"{}\": refused", what, announced, inside);
  }
  if (*family == Family::kIndex) return index_from_json(json, what);
  return manifest_from_json(json, what);
}

Result<Descriptor> select_platform(const Index& index, const Platform& platform, std::string_view what) {
  std::string offered;
  for (const Descriptor& descriptor : index.manifests) {
    // Attestations hang in an index as images for unknown/unknown.
    if (!descriptor.platform || descriptor.platform->os == "unknown") continue;
    if (matches(*descriptor.platform, platform)) return descriptor;
    offered += (offered.empty() ? "" : ", ") + to_string(*descriptor.platform);
  }
  return fail(ErrorCode::kNotFound, "{} has no variant for {}; choose one with --platform, it has: {}", what, to_string(platform),
              offered.empty() ? "none" : offered);
}

}  // namespace boxlite::image

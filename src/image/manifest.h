// Manifests and indexes: OCI image-spec v1.1 (manifest.md, image-index.md, descriptor.md) and their docker schema 2 twins.
//
// Bytes come here only after their digest was verified, or, for a tag, as the first thing a registry said. Types must agree: a
// document that could be read as manifest *and* as index is refused (CVE-2021-41190), and the type inside must be of the
// family the source announced, so that two readers of one digest cannot see two images.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "image/digest.h"

namespace boxlite::image {

inline constexpr std::size_t kMaxManifestBytes = 4 * 1024 * 1024;
inline constexpr std::size_t kMaxLayers = 512;

struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;  // "": any
};

/// "linux/amd64", "linux/arm/v7".
Result<Platform> parse_platform(std::string_view text);
std::string to_string(const Platform& platform);

struct Descriptor {
  std::string media_type;
  Digest digest;
  std::uint64_t size = 0;
  std::optional<Platform> platform;
  std::string name;             // annotation org.opencontainers.image.ref.name
  std::string image_name = {};  // annotation io.containerd.image.name: a whole reference
};

struct Manifest {
  Descriptor config;
  std::vector<Descriptor> layers;
};

struct Index {
  std::vector<Descriptor> manifests;
};

/// The media types to ask a registry for.
std::vector<std::string> accepted_manifest_types();

/// `announced_type` is the Content-Type or the descriptor's mediaType; `what` names the image in errors.
Result<std::variant<Manifest, Index>> parse_manifest(std::string_view bytes, std::string_view announced_type,
                                                     std::string_view what);

/// The entry for a platform; the error lists what there is.
Result<Descriptor> select_platform(const Index& index, const Platform& platform, std::string_view what);

}  // namespace boxlite::image

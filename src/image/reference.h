// Names of images, as docker understands them (the grammar of github.com/distribution/reference), and OCI layout directories.
//
// In the small library that the runtime links, since the runtime must know that "alpine" and "docker.io/library/alpine:latest"
// are one image before it asks anybody.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "image/digest.h"

namespace boxlite::image {

struct RegistryReference {
  std::string registry;          // "docker.io", "127.0.0.1:5000"
  std::string repository;        // "library/alpine"
  std::string tag;               // "" when only a digest was given
  std::optional<Digest> digest;  // wins over the tag

  /// What the registry is asked for: the digest, else the tag.
  std::string selector() const { return digest ? digest->text() : tag; }
};

struct LayoutReference {
  std::string directory;
  std::string tag;  // "": the only image there
};

using Reference = std::variant<RegistryReference, LayoutReference>;

/// kInvalidArgument with the rule that was broken.
Result<Reference> parse_reference(std::string_view text);

/// HOST or HOST:PORT, as it may stand before a repository.
bool is_registry_host(std::string_view text);

/// "library/alpine": components of lower-case letters and digits.
bool is_repository_name(std::string_view text);

/// What a name may mean: itself when it says its registry (or is a layout), else one for each registry of the search list.
Result<std::vector<Reference>> candidates(std::string_view text, const std::vector<std::string>& search);

/// Fully qualified: "docker.io/library/alpine:3.20", "quay.io/a/b@sha256:…", "oci:/dir:tag".
std::string to_string(const Reference& reference);

}  // namespace boxlite::image

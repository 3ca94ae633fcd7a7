// How images are called in tables and messages.
#pragma once

#include <string>
#include <vector>

#include "boxlite/image.h"

namespace boxlite::cli {

inline constexpr std::string_view kNoName = "<none>";  // docker's

struct RepositoryAndTag {
  std::string repository;
  std::string tag;
};
/// The two columns of a table; kNoName for what is missing.
RepositoryAndTag split_reference(const ImageInfo& image);

inline bool has_name(const ImageInfo& image) { return image.reference != image.id; }

/// "untagged: NAME" and "deleted: ID" lines, with docker's capital letters or without.
std::string removal_text(const ImageRemoval& removal, bool capital);

}  // namespace boxlite::cli

// The image configuration (OCI image-spec v1.1, config.md): what to run, and the digests of the unpacked layers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "boxlite/image.h"
#include "image/digest.h"
#include "image/manifest.h"

namespace boxlite::image {

inline constexpr std::size_t kMaxConfigBytes = 4 * 1024 * 1024;

struct ConfigDocument {
  Platform platform;
  std::string created;
  std::vector<Digest> diff_ids;  // lowest layer first
  ImageConfig config;
};

/// The bytes are verified already. `what` names the image.
Result<ConfigDocument> parse_image_config(std::string_view bytes, std::string_view what);

}  // namespace boxlite::image

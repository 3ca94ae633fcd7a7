// Images of a home: which there are, and how one gets here.
#pragma once

#include <optional>
#include <string>

#include "base/ofd_lock.h"
#include "base/result.h"
#include "boxlite/image.h"
#include "boxlite/runtime.h"
#include "runtime/context.h"

namespace boxlite {

/// All layers of an image together.
inline constexpr std::uint64_t kMaxUnpackedBytes = std::uint64_t{20} << 30;

/// An image that nobody removes while this is held, neither its record nor its base disk. For milliseconds: who removes images
/// waits for it.
struct HeldImage {
  ImageInfo image;
  OfdLock store;
};

struct FoundImage {
  ImageInfo image;
  bool by_id = false;
};

/// The image a user means: by name, by NAME@DIGEST of its manifest, or by at least `min_digits` hex digits of its id.
Result<std::optional<FoundImage>> find_image(const Database& database, const std::string& text, std::size_t min_digits = 1);
/// kNotFound when there is none.
Result<FoundImage> require_image(const Database& database, const std::string& text);

/// The store's lock, shared (image/image_job.h).
Result<OfdLock> share_image_store(const HomePaths& paths);

/// Gets the image from where its reference points, whether or not it is here already.
Result<HeldImage> pull_image(Context& context, const std::string& reference, const PullOptions& options);

Result<void> login_registry(Context& context, const std::string& registry, const RegistryCredentials& credentials);
Result<void> logout_registry(Context& context, const std::string& registry);

/// The image as options.policy says, from the home if both its record and its base disk are there.
Result<HeldImage> ensure_image(Context& context, const std::string& reference, const PullOptions& options);

}  // namespace boxlite

// Images of a home: which there are, and how the program boxlite-image is run to get one (image/image_job.h).
#pragma once

#include <string>

#include "base/result.h"
#include "boxlite/image.h"
#include "boxlite/runtime.h"
#include "runtime/context.h"

namespace boxlite {

/// Gets the image from where its reference points, whether or not it is here already.
Result<ImageInfo> pull_image(Context& context, const std::string& reference, const PullOptions& options);

Result<void> login_registry(Context& context, const std::string& registry, const RegistryCredentials& credentials);
Result<void> logout_registry(Context& context, const std::string& registry);

/// The image as options.policy says, from the home if both its record and its base disk are there.
Result<ImageInfo> ensure_image(Context& context, const std::string& reference, const PullOptions& options);

}  // namespace boxlite

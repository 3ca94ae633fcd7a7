// Instructions of a Dockerfile that change an image's configuration (docker import --change).
#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"

namespace boxlite::image {

/// Applies CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR to the "config" object of an OCI image
/// configuration. kInvalidArgument for anything else.
Result<void> apply_change(const std::string& instruction, Json& config);

}  // namespace boxlite::image

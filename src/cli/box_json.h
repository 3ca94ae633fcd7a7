// Boxes, images and the host as JSON. The keys are an interface: docs/cli.md lists them, new ones are only added.
#pragma once

#include "base/json.h"
#include "boxlite/box_info.h"
#include "boxlite/image.h"
#include "boxlite/runtime.h"
#include "boxlite/volume.h"

namespace boxlite::cli {

/// A row of `ls --format json`: no environment, which may hold secrets.
Json summary_json(const BoxInfo& box);

/// An element of `inspect`: the summary, and "options" with how the box was made.
Json detail_json(const BoxInfo& box);

Json volume_json(const VolumeInfo& volume);
Json image_json(const ImageInfo& image);
Json host_json(const HostInfo& host);

}  // namespace boxlite::cli

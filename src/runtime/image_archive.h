// Images from archives and directories, and archives of images: the jobs of boxlite-image for them, and the rows.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "boxlite/image.h"
#include "runtime/context.h"
#include "runtime/images.h"

namespace boxlite {

/// BoxOptions::image for a directory of the host as the root: "rootfs:/srv/root".
inline constexpr std::string_view kDirectoryImage = "rootfs:";

Result<std::vector<ImageInfo>> load_images(Context& context, int fd, const std::string& name);
Result<ImageInfo> import_image(Context& context, int fd, const std::string& name, const ImportOptions& options);
Result<void> save_images(Context& context, const std::vector<std::string>& references, int fd, const std::string& name);

/// A base disk of what is in the directory now. It belongs to the boxes made of it: there is no record of an image.
Result<HeldImage> directory_image(Context& context, const std::string& directory);

}  // namespace boxlite

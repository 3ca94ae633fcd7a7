// Names given to images and taken away, and the end of what nothing refers to.
//
// Theory of operation. First the rows, in one transaction; then the files that no row refers to any more: blobs of no image,
// bases of no image and no box. A removal that is killed in between leaves such files, and the next one removes them. All under
// the store's lock (image/image_job.h), held exclusively: nobody is about to refer to what is removed. A pull that runs meanwhile
// has names of its own for the blobs it uses.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "boxlite/image.h"
#include "runtime/context.h"

namespace boxlite {

Result<void> tag_image(Context& context, const std::string& source, const std::string& target);
Result<ImageRemoval> remove_image(Context& context, const std::string& reference, bool force);
Result<ImageRemoval> prune_images(Context& context, bool all);

/// The blobs and bases that nothing refers to. nullopt: somebody is about to refer to some.
Result<std::optional<std::vector<std::string>>> unreferenced_files(const HomePaths& paths, const Database& database);
/// Removes them. Returns the space that they took.
Result<std::uint64_t> collect_unreferenced(Context& context);

/// After the removal of a box: its image's base, if nothing else refers to it. Left for gc when the store's lock cannot be had in time.
void collect_base(const HomePaths& paths, const Database& database, const std::string& image_id);

}  // namespace boxlite

// Making a box: directory, secrets, disk, then the row. Nothing of it is there until all of it is.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "boxlite/box_options.h"
#include "boxlite/runtime.h"
#include "runtime/context.h"
#include "runtime/lease.h"

namespace boxlite {

Result<BoxRow> create_box(Context& context, const BoxOptions& options, const PullOptions& pull);

/// Of the disk that a box's guest sees: what was asked for, or the image's when that is larger.
Result<std::uint64_t> disk_size(const HomePaths& paths, const BoxOptions& options, const std::string& image_id);

/// A new box's id, and its operation lock.
Result<std::pair<std::string, OpLock>> reserve_id(const HomePaths& paths);

/// The row, under which the box is known. Where the name was made up and is taken by now another one is made up.
Result<void> insert_row(const HomePaths& paths, Database& database, BoxRow& row, const std::vector<VolumeRow>& volumes,
                        bool name_is_made_up);

}  // namespace boxlite

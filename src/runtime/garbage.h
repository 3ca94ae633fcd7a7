// What takes space in a home and is nobody's any more, beside the files of images (image_removal.h) and what is half removed
// (removal.h): temporary files of dead processes. `gc` removes all three.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/context.h"

namespace boxlite {

/// Is this what write_file_atomic() and write_file_volatile() call a file before it has its name?
bool is_temporary_name(std::string_view name);

/// Such files whose writer is dead, and what killed commands have left of checkpoints: in the directory of a box, when nothing
/// runs it or works on it; elsewhere, where none takes more than milliseconds, when they are older than ten minutes.
std::vector<std::string> abandoned_files(const HomePaths& paths);

/// Removes the cgroups (box_cgroup.h) that killed shims have left.
Result<void> remove_left_cgroups(const HomePaths& paths);

/// Removes all that nothing refers to: what killed commands have left, blobs and bases of no image. What others work on is left
/// alone. Returns the space that it took.
Result<std::uint64_t> collect_all_garbage(Context& context);

}  // namespace boxlite

// Volumes of a home: rows (database.h) and directories. Theory: volumes.cc.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ofd_lock.h"
#include "base/result.h"
#include "boxlite/volume.h"
#include "runtime/database.h"
#include "runtime/paths.h"

namespace boxlite {

/// Makes the directories of a volume where they are missing.
Result<void> make_volume_files(const HomePaths& paths, const std::string& name);

Result<VolumeInfo> create_volume(const HomePaths& paths, Database& database, const std::string& name,
                                 const std::map<std::string, std::string>& labels);
Result<std::vector<VolumeInfo>> list_volumes(const HomePaths& paths, const Database& database);
Result<VolumeInfo> find_volume(const HomePaths& paths, const Database& database, const std::string& name);
Result<void> remove_volume(const HomePaths& paths, Database& database, const std::string& name);
Result<VolumeRemoval> prune_volumes(const HomePaths& paths, Database& database, bool all);

/// Removes what a crash has left of volumes that never came to be, and of those that were being removed.
Result<void> sweep_volumes(const HomePaths& paths, Database& database);

/// Of a volume at a start: whether it is to get what the image has, and then the right to do it, which one box at a time has.
/// Waits for another that has it. When the holder ends before finish_population(), the next start does it all again.
Result<std::optional<OfdLock>> begin_population(const HomePaths& paths, const std::string& name);
Result<void> finish_population(const HomePaths& paths, const std::string& name, OfdLock population);

}  // namespace boxlite

// Volumes of a home: rows (database.h) and directories. Theory: volumes.cc.
#pragma once

#include <map>
#include <string>
#include <vector>

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

/// Of a volume at a start: it is to get what the image has. From here on until finish_population() a start that fails leaves it
/// so.
Result<bool> begin_population(const HomePaths& paths, const std::string& name);
Result<void> finish_population(const HomePaths& paths, const std::string& name);

}  // namespace boxlite

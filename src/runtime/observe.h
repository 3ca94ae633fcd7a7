// Looks at boxes: collects Observations, asks running shims whether they answer, and makes BoxInfos of both.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "boxlite/box_info.h"
#include "runtime/database.h"
#include "runtime/paths.h"
#include "runtime/records.h"
#include "runtime/status.h"

namespace boxlite {

/// Status of one box now. Asks the shim only when its state cannot be read: otherwise a silent one is not noticed.
Result<Observation> observe(const HomePaths& paths, const Database& database, BoxRow row);

/// The state record at `path`. A file that is missing or cannot be read says nothing: the lock is the truth, this only adds to
/// it.
std::optional<StateRecord> read_state(const std::string& path);

/// Everything about one box, env included; a silent shim is noticed after at most two seconds.
Result<BoxInfo> inspect_box(const HomePaths& paths, const Database& database, const BoxRow& row);

/// All boxes, without their env; takes at most about two seconds however many shims are silent.
Result<std::vector<BoxInfo>> list_boxes(const HomePaths& paths, const Database& database);

}  // namespace boxlite

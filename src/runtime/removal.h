// Removing a box: nothing of it stays behind, whenever the remover is killed. Theory: removal.cc.
#pragma once

#include <set>
#include <string>

#include "base/result.h"
#include "runtime/database.h"
#include "runtime/lease.h"
#include "runtime/paths.h"

namespace boxlite {

/// Refuses a running box unless `force`, which kills it. Finishes a removal that was interrupted. The anonymous volumes of the
/// box go too if `volumes`, or if it removes itself; a removal that is interrupted may leave them to `volume prune`.
Result<void> remove_box(const HomePaths& paths, Database& database, const std::string& id, bool force, bool volumes = false);

/// For a shim whose box removes itself: the caller holds the lease, and the VM has ended. The exit record is written before.
Result<void> remove_own_box(const HomePaths& paths, Database& database, const std::string& id);

/// The ids of boxes that are half removed, or have files and no row: of those that commands are at work on too.
Result<std::set<std::string>> unfinished_boxes(const HomePaths& paths, const Database& database);

/// Finishes every interrupted removal and deletes what interrupted creations left. Passes over whatever another command works on.
Result<void> sweep_home(const HomePaths& paths, Database& database);

}  // namespace boxlite

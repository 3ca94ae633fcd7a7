// The process that removes a box of --rm at its end: started while the shim still may start processes, and told then.
#pragma once

#include <string>

#include "base/process.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/paths.h"

namespace boxlite::shim {

/// It knows one box and one order, and ends with the shim. Not a part of the box: it waits, and holds no lock.
class Remover {
 public:
  static Result<Remover> start(const HomePaths& paths, const std::string& box_id);

  /// The caller holds the lease, and the VM has ended. Returns when the box is gone.
  Result<void> remove();

 private:
  Remover(UniqueFd order, ChildProcess process) : order_(std::move(order)), process_(std::move(process)) {}
  UniqueFd order_;
  ChildProcess process_;
};

inline constexpr const char* kRemoverRole = "remover";

/// The process itself: boxlite-shim BOX-ID remover, with the order on its stdin.
Result<void> run_remover(const std::string& box_id);

}  // namespace boxlite::shim

// New boxes with the memory and the disk of a running one.
#pragma once

#include <vector>

#include "base/result.h"
#include "boxlite/box.h"
#include "runtime/context.h"

namespace boxlite {

/// As Box::fork().
Result<std::vector<BoxRow>> fork_box(Context& context, const BoxRow& parent, const ForkOptions& options);

}  // namespace boxlite

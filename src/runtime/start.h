// Starting a box: intent, shim, configuration, and the shim's reports. Theory: start.cc.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "boxlite/box.h"
#include "boxlite/execution.h"
#include "runtime/context.h"

namespace boxlite {

/// As Box::start().
Result<std::optional<Execution>> start_box(Context& context, const std::string& id, const StartOptions& options);

}  // namespace boxlite

// Ending and awaiting a box that runs.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "runtime/context.h"

namespace boxlite {

/// As Box::stop().
Result<void> stop_box(Context& context, const BoxRow& row, std::chrono::seconds grace);

/// As Box::kill().
Result<void> signal_box(const Context& context, const BoxRow& row, int signal);

/// As Box::wait().
Result<int> wait_box(const Context& context, const BoxRow& row);

}  // namespace boxlite

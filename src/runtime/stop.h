// Ending and awaiting a box that runs.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/result.h"
#include "runtime/context.h"

namespace boxlite {

enum class AutoRemoval {
  kAsConfigured,
  kNotThisTime,  // the box stays, for a restart
};

/// As Box::stop().
Result<void> stop_box(Context& context, const BoxRow& row, std::optional<std::chrono::seconds> grace, AutoRemoval removal);

/// As Box::pause(), Box::pause_to_disk() and Box::unpause().
Result<void> pause_box(const Context& context, const BoxRow& row);
Result<void> suspend_box(Context& context, const BoxRow& row);
Result<void> unpause_box(const Context& context, const BoxRow& row);

/// As Box::kill().
Result<void> signal_box(const Context& context, const BoxRow& row, int signal);

/// As Box::wait().
Result<int> wait_box(const Context& context, const BoxRow& row);

}  // namespace boxlite

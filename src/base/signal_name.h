// Signals as images and users write them: "SIGTERM", "term", "15", "SIGRTMIN+3".
#pragma once

#include <string_view>

#include "base/result.h"

namespace boxlite {

/// The number, as Linux on x86-64 (host and guest alike) has it, 1–64. kInvalidArgument for anything else.
Result<int> signal_number(std::string_view text);

}  // namespace boxlite

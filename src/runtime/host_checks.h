// What `doctor` says about the host: what boxes need of it, and what would make them faster or safer.
#pragma once

#include "runtime/context.h"
#include "runtime/findings.h"

namespace boxlite {

/// Changes nothing but the memo of what the host can do.
void check_host(const Context& context, Findings& findings);

}  // namespace boxlite

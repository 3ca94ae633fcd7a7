// What `doctor` says about a home: whether rows, files, locks and processes agree.
#pragma once

#include "base/result.h"
#include "runtime/context.h"
#include "runtime/findings.h"

namespace boxlite {

/// What can be seen at once. It takes no lock but for milliseconds, so what is on its way somewhere may look wrong for a moment.
void check_home(const Context& context, Findings& findings);

/// Finishes what killed commands have left undone, ends VMs that have lost their shims, makes what a volume lacks: nothing that
/// could be somebody's data goes.
Result<void> repair_home(Context& context);

}  // namespace boxlite

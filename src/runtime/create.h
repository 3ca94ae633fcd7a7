// Making a box: directory, secrets, disk, then the row. Nothing of it is there until all of it is.
#pragma once

#include "base/result.h"
#include "boxlite/box_options.h"
#include "boxlite/runtime.h"
#include "runtime/context.h"

namespace boxlite {

Result<BoxRow> create_box(Context& context, const BoxOptions& options, const PullOptions& pull);

}  // namespace boxlite

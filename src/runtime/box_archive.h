// Boxes as archives (.boxlite; docs/formats/box-archive.md), and boxes from them. Nothing in an archive is trusted: what a box
// from one can do is what any guest can.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "boxlite/runtime.h"
#include "runtime/context.h"

namespace boxlite {

/// As Box::export_archive().
Result<void> export_box(Context& context, const BoxRow& row, int fd, const std::string& name, bool memory);

/// As Runtime::import_box(): the row, and what was left out.
Result<std::pair<BoxRow, std::vector<std::string>>> import_box(Context& context, int fd, const std::string& name,
                                                               const BoxImportOptions& options);

}  // namespace boxlite

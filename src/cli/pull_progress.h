// A pull as plain lines on standard error: one for each layer that is here, one when the disk is made.
#pragma once

#include <functional>

#include "boxlite/image.h"

namespace boxlite::cli {

std::function<void(const PullProgress&)> pull_progress_lines();

}  // namespace boxlite::cli

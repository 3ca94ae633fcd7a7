// A pull as plain lines on standard error, for people: one for each layer that is here, one when the disk is made.
#pragma once

#include "boxlite/runtime.h"

namespace boxlite::cli {

/// With progress lines when standard error is a terminal. Elsewhere it has nothing but the one line of an error.
PullOptions pull_options();

}  // namespace boxlite::cli

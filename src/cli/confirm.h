// The question before something is removed for good, as docker's prune asks it.
#pragma once

#include <string>

#include "base/result.h"

namespace boxlite::cli {

/// Says what will be removed and reads the answer from standard input; what is not a yes is a no.
Result<bool> confirm_removal(const std::string& what);

}  // namespace boxlite::cli

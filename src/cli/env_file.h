// The environment of a command from --env-file and --env.
//
// A file has docker's format: one NAME=value a line, taken as it is (no quotes, no escapes, no `export`); NAME alone takes the
// value from this process's environment; white space before the name, empty lines and lines that begin with # do not count.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace boxlite::cli {

/// What the files say, in their order, and then `values` (resolve_environment()): of two with one name the later one counts.
Result<std::vector<std::string>> read_environment(const std::vector<std::string>& files, const std::vector<std::string>& values);

}  // namespace boxlite::cli

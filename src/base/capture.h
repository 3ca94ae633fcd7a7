// A program of the system, run for what it prints.
#pragma once

#include <string>
#include <vector>

#include "base/process.h"
#include "base/result.h"

namespace boxlite {

struct Captured {
  ExitStatus status;
  std::string output;  // standard output and error, the first 4 KiB
};

/// Waits for its end, which comes at the latest with this process's. argv[0] is the program's absolute path.
Result<Captured> capture(const std::vector<std::string>& argv);

}  // namespace boxlite

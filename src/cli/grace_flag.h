// The flag -t of stop and restart.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "cli/flag_set.h"

namespace boxlite::cli {

class GraceFlag {
 public:
  void add_to(FlagSet& flags);

  /// nullopt: not given, the box's own holds.
  Result<std::optional<std::chrono::seconds>> grace() const;

 private:
  std::optional<std::string> time_;
};

}  // namespace boxlite::cli

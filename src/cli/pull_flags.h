// The flags that say which image is got, and when: of pull, and of run and create.
#pragma once

#include <optional>
#include <string>

#include "boxlite/runtime.h"
#include "cli/flag_set.h"

namespace boxlite::cli {

class PullFlags {
 public:
  /// --platform. This object holds the values and must outlive the set's parse().
  void add_to(FlagSet& flags);
  /// --platform, --pull and --quiet.
  void add_policy_to(FlagSet& flags);

  /// With live progress where standard error is a terminal, and without any elsewhere.
  Result<PullOptions> options() const;

 private:
  std::optional<std::string> platform_, policy_;
  bool quiet_ = false;
};

}  // namespace boxlite::cli

// What is wrong with this host and with a home, and what to do about it. Values only.
#pragma once

#include <string>
#include <vector>

#include "boxlite/runtime.h"

namespace boxlite {

/// One thing that was looked at.
struct Finding {
  enum class Level {
    kOk,
    kNote,      // boxes work without it: slower, or with a layer less, or space is wasted
    kProblem,   // something does not work, or is not as it must be
    kRepaired,  // it was a problem
  };
  std::string area;     // "host", "home"
  std::string subject;  // "kvm", "landlock", "box web", "images", …
  Level level = Level::kOk;
  std::string text;    // what was found; one line
  std::string remedy;  // what to do; one line, "" when there is nothing to do
};

/// "ok", "note", "problem", "repaired"
std::string_view name(Finding::Level level);

/// Looks at the host, then at the home, which other processes may be working on. What keeps it from looking is a finding too.
/// Reads every blob and base disk. With `repair` it does what the next commands on this home would do anyway, and what else takes
/// away nothing that could be somebody's data.
std::vector<Finding> diagnose(const RuntimeOptions& options, bool repair);

}  // namespace boxlite

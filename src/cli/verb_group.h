// Verbs in a table: those of boxlite itself, and those below `image` and `volume`.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/flag_set.h"

namespace boxlite::cli {

struct Verb {
  std::string_view name;
  Result<int> (*run)(Invocation&);
  std::string_view summary;  // "": an alias, not in the help
};

/// `command`: what they stand behind, "boxlite" or "boxlite image".
std::string verbs_help(std::string_view command, std::span<const Verb> verbs);

/// `boxlite GROUP COMMAND [ARG...]`.
Result<int> run_verb_group(Invocation& invocation, const std::string& group, const std::string& summary,
                           std::span<const Verb> verbs);

}  // namespace boxlite::cli

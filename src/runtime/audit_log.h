// boxes/<id>/audit.jsonl: what was done to a box and what it tried, for whoever asks later (docs/formats/audit.md).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "runtime/paths.h"

namespace boxlite {

/// Appends an event with the time of now. Called by who holds the lease, so by one at a time. A full disk costs the line, not the
/// box.
void append_audit(const HomePaths& paths, const std::string& id, std::string_view event, Json details);

/// A command as its `command` detail: the first 4 KiB of its words.
Json audit_words(const std::vector<std::string>& words);

}  // namespace boxlite

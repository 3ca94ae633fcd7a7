// The counters of a box's network as JSON: what a shim answers to a ping (control.h), and what `inspect` and `stats` print.
#pragma once

#include "base/json.h"
#include "boxlite/box_info.h"

namespace boxlite {

Json to_json(const NetworkUsage& usage);

/// What is missing or no number is 0: it is only shown.
NetworkUsage network_usage_from_json(const Json& json);

}  // namespace boxlite

// The container's processes, as its own pid namespace numbers them: read from the agent's /proc, so that the image needs no ps
// and nothing in the container can hide one.
#pragma once

#include "agent.pb.h"
#include "base/result.h"

namespace boxlite::agent {

/// In the order of their pids. A list that would be too long for a message is cut.
Result<proto::ProcessList> list_processes();

}  // namespace boxlite::agent

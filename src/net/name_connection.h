// The box's TCP connections to its name server.
//
// libslirp connects where the box wants to go. It calls connect(), and this program defines that function: a connection to the
// gateway's port 53 gets one end of a socket pair, and the name service the other. So nothing listens anywhere for it, and no
// other process of the host can reach a box's name service.
//
// Single-threaded; one state per process, as there is one connect().
#pragma once

#include <functional>

#include "base/unique_fd.h"

namespace boxlite::net {

/// Where the other ends go; nullptr: such connections are refused.
void on_name_connection(std::function<void(UniqueFd)> take);

}  // namespace boxlite::net

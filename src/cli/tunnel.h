// One connection between a socket here and a port in a box.
#pragma once

#include "boxlite/box.h"

namespace boxlite::cli {

/// Relays until the box's side has ended its sending, or the connection is lost. `socket`: a connected stream socket.
Result<void> relay_tunnel(Execution& session, int socket);

}  // namespace boxlite::cli

// Owner-bound boxes: the socket on which such a box was started stays open in this process until the process ends, however it
// ends; its shim watches the process by pidfd and this socket, and stops the box then. A forked child does not inherit it
// (fork_guard.h).
#pragma once

#include "base/unique_fd.h"

namespace boxlite {

void keep_owner_socket(UniqueFd socket);

}  // namespace boxlite

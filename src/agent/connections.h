// TCP connections of a machine that goes on from a checkpoint: whoever they were with does not know them any more.
#pragma once

#include "base/result.h"

namespace boxlite::agent {

/// Breaks those that lead out of the box, in every network namespace that a process of it is in: who waits for data gets
/// ECONNABORTED instead of waiting for ever. Connections between addresses of the box itself, and sockets that listen, stay as
/// they are. All of them are tried, and the first failure returned. netlink(7), sock_diag(7); SOCK_DESTROY needs
/// CONFIG_INET_DIAG_DESTROY.
Result<void> break_connections();

}  // namespace boxlite::agent

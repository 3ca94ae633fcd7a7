// A connection from the host to a TCP port in the container, without a network: what a child in the container does with its stdin
// and stdout (proto Tunnel).
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::agent {

/// To 127.0.0.1, or ::1 when nobody listens there. kUnavailable: nobody does.
Result<UniqueFd> connect_loopback(std::uint16_t port);

/// Relays until both directions have ended, or the connection is lost. Each side's end-of-file is passed on by itself. The exit
/// code: 0, or 1 when the connection was lost; the reason has been written to stderr then.
int relay_tunnel(int socket);

}  // namespace boxlite::agent

// Who has a port of this host, as far as /proc tells this user.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

namespace boxlite {

/// "pid 123 (nginx)", "box 5f0c6d1b9a3e", or "" when it cannot be seen. `address`: what could not be bound.
std::string port_holder(const sockaddr_storage& address, bool tcp);

/// Does a socket listen there (tcp), or is one bound (udp), in the network that this process is in?
bool is_served(pid_t pid, const std::string& ip, std::uint16_t port, bool tcp);

}  // namespace boxlite

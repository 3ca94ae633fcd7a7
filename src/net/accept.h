// Which address the box sees as the client of a connection to a published TCP port.
//
// libslirp accepts on a listener and tells the guest the client's address; it knows no IPv6 client of an IPv4 service, and gives
// two clients of the same port one address (127.0.0.1:5000, [::1]:5000). It calls accept(), and this program defines that
// function: an IPv4 client that the box can answer to is seen as it is, every other one as the host alias with a port of its own.
//
// It is also where a published port has its share: clients of a service that hangs give their connections up, the box does not,
// and libslirp keeps what is closed on one side alone. So one port has at most kMaxPerPort, all together kMaxPublished; what is
// beyond is refused, and leaves the box's other ports, its own connections and its name lookups the descriptors that they need.
//
// Single-threaded; one state per process, as there is one accept().
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace boxlite::net {

inline constexpr std::size_t kMaxPerPort = 1024;
inline constexpr std::size_t kMaxPublished = 1536;

/// Listeners whose clients were refused since the last call, one entry for each client.
std::vector<int> take_refused();

/// The descriptor that accept() returned last, -1 after it was asked for.
int take_last_accepted();

/// The connection behind this descriptor is over: its port at the host alias is free again, and its place in the share.
void forget_accepted(int fd);

/// Takes a descriptor in reserve, so that a connection can be refused when there are no more (else the loop would spin on its
/// listener).
void reserve_descriptor();

}  // namespace boxlite::net

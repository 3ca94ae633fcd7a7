// Unix sockets by directory descriptor: a socket path is limited to 107 bytes, a home's path is not. Bind and connect go
// through /proc/self/fd/<directory>/<name>, which is always short.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite {

/// Binds and listens at `directory`/`name` (stream, non-blocking, mode 0600). A stale socket of that name is replaced.
Result<UniqueFd> listen_unix(const std::string& directory, const std::string& name);

/// Connects (stream, blocking). kNotFound: no such socket; kUnavailable: nobody listens, or
/// the listener has not taken its connections for 5 seconds.
Result<UniqueFd> connect_unix(const std::string& directory, const std::string& name);

struct PeerCredentials {
  pid_t pid;
  uid_t uid;
};
Result<PeerCredentials> peer_credentials(int socket);

}  // namespace boxlite

#include "base/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "base/sys.h"

namespace boxlite {
namespace {

struct Address {
  UniqueFd directory;  // keeps the path below valid
  sockaddr_un address;
};

Result<Address> address_of(const std::string& directory, const std::string& name) {
  TRY_ASSIGN(UniqueFd dir, sys::open(directory, O_PATH | O_DIRECTORY));
  Address result{std::move(dir), {}};
  result.address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", result.directory.get(), name);
  if (path.size() >= sizeof result.address.sun_path) return fail(ErrorCode::kInvalidArgument, "socket name {} is too long", name);
  std::memcpy(result.address.sun_path, path.c_str(), path.size() + 1);
  return result;
}

}  // namespace

Result<UniqueFd> listen_unix(const std::string& directory, const std::string& name) {
  TRY_ASSIGN(const Address at, address_of(directory, name));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("socket");
  if (::unlinkat(at.directory.get(), name.c_str(), 0) < 0 && errno != ENOENT) return fail_errno("unlink {}/{}", directory, name);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at.address), sizeof at.address) < 0) {
    return fail_errno("bind {}/{}", directory, name);
  }
  if (::fchmodat(at.directory.get(), name.c_str(), 0600, 0) < 0) return fail_errno("chmod {}/{}", directory, name);
  if (::listen(fd.get(), SOMAXCONN) < 0) return fail_errno("listen {}/{}", directory, name);
  return fd;
}

Result<UniqueFd> connect_unix(const std::string& directory, const std::string& name) {
  TRY_ASSIGN(const Address at, address_of(directory, name));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  // A listener that is stopped and whose queue is full must not hold the caller for ever.
  constexpr timeval kPatience = {.tv_sec = 5, .tv_usec = 0};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience) < 0) return fail_errno("SO_SNDTIMEO");
  while (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&at.address), sizeof at.address) < 0) {
    if (errno == EINTR) continue;
    if (errno == EAGAIN) errno = ETIMEDOUT;
    return fail_errno("connect {}/{}", directory, name);
  }
  constexpr timeval kForEver = {};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kForEver, sizeof kForEver) < 0) return fail_errno("SO_SNDTIMEO");
  return fd;
}

Result<PeerCredentials> peer_credentials(int socket) {
  ucred credentials = {};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) return fail_errno("SO_PEERCRED");
  return PeerCredentials{credentials.pid, credentials.uid};
}

}  // namespace boxlite

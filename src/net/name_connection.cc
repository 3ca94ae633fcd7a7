#include "net/name_connection.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "net/addresses.h"

namespace boxlite::net {
namespace {

std::function<void(UniqueFd)>& taker() {
  static std::function<void(UniqueFd)> instance;
  return instance;
}

bool is_name_server(const sockaddr* address, socklen_t length) {
  if (length < sizeof(sockaddr_in) || address->sa_family != AF_INET) return false;
  sockaddr_in in = {};
  std::memcpy(&in, address, sizeof in);
  return in.sin_port == htons(kDnsPort) && std::memcmp(&in.sin_addr, kGateway4.bytes().data(), sizeof in.sin_addr) == 0;
}

int connect_to_names(int fd) {
  if (!taker()) {
    errno = ECONNREFUSED;
    return -1;
  }
  std::array<int, 2> ends = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) < 0) return -1;
  UniqueFd libslirps(ends[0]);
  UniqueFd ours(ends[1]);
  if (::dup3(libslirps.get(), fd, O_CLOEXEC) < 0) return -1;
  taker()(std::move(ours));
  return 0;
}

}  // namespace

void on_name_connection(std::function<void(UniqueFd)> take) { taker() = std::move(take); }

}  // namespace boxlite::net

// In place of the C library's, for libslirp.
extern "C" int connect(int fd, const struct sockaddr* address, socklen_t length) {
  using namespace boxlite::net;
  if (is_name_server(address, length)) return connect_to_names(fd);
  return static_cast<int>(::syscall(SYS_connect, fd, address, length));
}

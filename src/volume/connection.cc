#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "volume/server.h"

namespace boxlite::volume {
namespace {

// False: the connection is over, or nobody needs us any more.
bool wait_readable(int connection, int launcher) {
  for (;;) {
    pollfd waiting[2] = {{connection, POLLIN, 0}, {launcher, POLLIN, 0}};
    if (::poll(waiting, 2, -1) < 0 && errno != EINTR) return false;
    if (waiting[1].revents != 0) return false;
    if (waiting[0].revents != 0) return true;
  }
}

bool read_exactly(int connection, int launcher, char* target, std::size_t count) {
  while (count > 0) {
    if (!wait_readable(connection, launcher)) return false;
    const ssize_t got = ::recv(connection, target, count, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    target += got;
    count -= static_cast<std::size_t>(got);
  }
  return true;
}

bool write_all(int connection, std::string_view data) {
  while (!data.empty()) {
    const ssize_t put = ::send(connection, data.data(), data.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

}  // namespace

bool serve(Server& server, int connection, int launcher) {
  std::string message;
  for (;;) {
    message.resize(kHeaderSize);
    if (!read_exactly(connection, launcher, message.data(), kHeaderSize)) return true;
    const std::uint32_t size = Reader(message).u32();
    if (size < kHeaderSize || size > server.max_message()) return false;
    message.resize(size);
    if (!read_exactly(connection, launcher, message.data() + kHeaderSize, size - kHeaderSize)) return true;
    const auto reply = server.handle(message);
    if (!reply) return false;
    if (!write_all(connection, *reply)) return true;
  }
}

}  // namespace boxlite::volume

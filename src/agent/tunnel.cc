#include "agent/tunnel.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/sys.h"

namespace boxlite::agent {
namespace {

constexpr std::size_t kBuffer = 64 * 1024;

// One direction: what was read and not yet written.
struct Flow {
  int from;
  int to;
  std::array<std::byte, kBuffer> buffer = {};
  std::size_t begin = 0;
  std::size_t end = 0;
  bool ended = false;

  bool holds_data() const { return begin < end; }
  bool done() const { return ended && !holds_data(); }
};

// True when there is something new.
Result<bool> take(Flow& flow) {
  const ssize_t count = ::read(flow.from, flow.buffer.data(), flow.buffer.size());
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return false;
    return fail_errno("read");
  }
  flow.begin = 0;
  flow.end = static_cast<std::size_t>(count);
  flow.ended = count == 0;
  return true;
}

Result<void> give(Flow& flow) {
  const ssize_t count = ::write(flow.to, flow.buffer.data() + flow.begin, flow.end - flow.begin);
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return {};
    return fail_errno("write");
  }
  flow.begin += static_cast<std::size_t>(count);
  return {};
}

Result<void> relay(int socket) {
  static Flow out = {.from = STDIN_FILENO, .to = socket};
  static Flow in = {.from = socket, .to = STDOUT_FILENO};
  bool closed = false;
  while (!in.done() || !out.done()) {
    if (out.done() && !closed) {
      closed = true;
      if (::shutdown(socket, SHUT_WR) < 0 && errno != ENOTCONN) return fail_errno("shutdown");
    }
    if (in.done()) return {};  // nobody would read an answer to what is still sent
    std::array<pollfd, 4> waited = {pollfd{out.ended || out.holds_data() ? -1 : out.from, POLLIN, 0},
                                    pollfd{out.holds_data() ? out.to : -1, POLLOUT, 0},
                                    pollfd{in.ended || in.holds_data() ? -1 : in.from, POLLIN, 0},
                                    pollfd{in.to, static_cast<short>(in.holds_data() ? POLLOUT : 0), 0}};
    if (::poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) return fail_errno("poll");
    if ((waited[3].revents & POLLERR) != 0) return fail(ErrorCode::kUnavailable, "its client has gone");
    if (waited[0].revents != 0) TRY(take(out));
    if (waited[1].revents != 0) TRY(give(out));
    if (waited[2].revents != 0) TRY(take(in));
    if ((waited[3].revents & POLLOUT) != 0) TRY(give(in));
  }
  return {};
}

Result<UniqueFd> connect_to(int family, std::uint16_t port) {
  sockaddr_in in4 = {};
  in4.sin_family = AF_INET;
  in4.sin_port = htons(port);
  in4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 in6 = {};
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(port);
  in6.sin6_addr = IN6ADDR_LOOPBACK_INIT;
  UniqueFd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("socket");
  const int result = family == AF_INET ? ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&in4), sizeof in4)
                                       : ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&in6), sizeof in6);
  if (result < 0) return fail(ErrorCode::kUnavailable, "nobody listens on port {} in it: {}", port, std::strerror(errno));
  return socket;
}

}  // namespace

Result<UniqueFd> connect_loopback(std::uint16_t port) {
  auto socket = connect_to(AF_INET, port);
  if (socket) return socket;
  auto socket6 = connect_to(AF_INET6, port);
  return socket6 ? std::move(socket6) : std::move(socket);
}

int relay_tunnel(int socket) {
  Result<void> done = sys::set_nonblocking(socket, true);
  if (done) done = sys::set_nonblocking(STDIN_FILENO, true);
  if (done) done = sys::set_nonblocking(STDOUT_FILENO, true);
  if (done) done = relay(socket);
  if (done) return 0;
  // What is still to be sent is of no use: a reset, so that nothing of it stays.
  const linger reset = {1, 0};
  (void)::setsockopt(socket, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  (void)sys::write_all(STDERR_FILENO, done.error().message() + "\n");
  return 1;
}

}  // namespace boxlite::agent

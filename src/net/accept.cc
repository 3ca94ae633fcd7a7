#include "net/accept.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "net/client_address.h"

namespace boxlite::net {
namespace {

struct State {
  std::map<int, int> listener_of;          // by descriptor of a connection
  std::map<int, std::size_t> connections;  // by listener
  std::vector<int> refused;
  std::map<int, std::uint16_t> port_of;  // by descriptor, ports at the host alias
  std::set<std::uint16_t> used;
  int last = -1;
  int reserve = -1;
};

State& state() {
  static State instance;
  return instance;
}

std::uint16_t alias_port(int fd, std::uint16_t wanted) {
  State& s = state();
  std::uint16_t port = std::max<std::uint16_t>(wanted, 1024);
  while (s.used.contains(port)) port = port == 65535 ? std::uint16_t{1024} : static_cast<std::uint16_t>(port + 1);
  s.used.insert(port);
  s.port_of[fd] = port;
  return port;
}

void refuse(int listener, int fd) {
  constexpr linger kReset = {1, 0};
  (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &kReset, sizeof kReset);
  ::close(fd);
  state().refused.push_back(listener);
}

// For want of a descriptor.
void refuse_one(int listener) {
  State& s = state();
  if (s.reserve < 0) return;
  ::close(std::exchange(s.reserve, -1));
  const int refused = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (refused >= 0) refuse(listener, refused);
  reserve_descriptor();
}

}  // namespace

int take_last_accepted() { return std::exchange(state().last, -1); }

std::vector<int> take_refused() { return std::exchange(state().refused, {}); }

void forget_accepted(int fd) {
  State& s = state();
  if (const auto counted = s.listener_of.find(fd); counted != s.listener_of.end()) {
    --s.connections[counted->second];
    s.listener_of.erase(counted);
  }
  const auto found = s.port_of.find(fd);
  if (found == s.port_of.end()) return;
  s.used.erase(found->second);
  s.port_of.erase(found);
}

void reserve_descriptor() { state().reserve = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3); }

}  // namespace boxlite::net

// In place of the C library's, for libslirp.
extern "C" int accept(int listener, struct sockaddr* address, socklen_t* length) {
  using namespace boxlite::net;
  sockaddr_storage client = {};
  socklen_t client_length = sizeof client;
  const int fd = ::accept4(listener, reinterpret_cast<sockaddr*>(&client), &client_length, SOCK_CLOEXEC);
  if (fd < 0) {
    if (errno == EMFILE || errno == ENFILE) refuse_one(listener);
    return -1;
  }
  State& s = state();
  if (s.connections[listener] >= kMaxPerPort || s.listener_of.size() >= kMaxPublished) {
    refuse(listener, fd);
    errno = EAGAIN;
    return -1;
  }
  s.listener_of.emplace(fd, listener);
  ++s.connections[listener];
  sockaddr_in seen = {};
  seen.sin_family = AF_INET;
  const SocketName name = socket_name(client);
  const auto visible = visible_client(name.address);
  const IpAddress shown = visible.value_or(kHostAlias4);
  std::memcpy(&seen.sin_addr, shown.bytes().data(), 4);
  seen.sin_port = htons(visible ? name.port : alias_port(fd, name.port));
  std::memcpy(address, &seen, std::min<std::size_t>(sizeof seen, *length));
  *length = sizeof seen;
  s.last = fd;
  return fd;
}

#include "agent/connections.h"

#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "base/defer.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

// In network byte order; of IPv4 mapped, as sockets of both families have it.
using Address = std::array<std::uint8_t, 16>;

// Those that somebody may wait for. Sockets that listen are none, and TIME_WAIT has nobody.
constexpr std::uint32_t kConnected = 1U << TCP_ESTABLISHED | 1U << TCP_SYN_SENT | 1U << TCP_SYN_RECV | 1U << TCP_FIN_WAIT1 |
                                     1U << TCP_FIN_WAIT2 | 1U << TCP_CLOSE_WAIT | 1U << TCP_LAST_ACK | 1U << TCP_CLOSING;

struct Request {
  nlmsghdr header = {};
  inet_diag_req_v2 body = {};
};

Address mapped(const void* ipv4) {
  Address address = {};
  address[10] = address[11] = 0xff;
  std::memcpy(&address[12], ipv4, 4);
  return address;
}

Address peer_of(const inet_diag_msg& connection) {
  if (connection.idiag_family == AF_INET) return mapped(connection.id.idiag_dst);
  Address address;
  std::memcpy(address.data(), connection.id.idiag_dst, address.size());
  return address;
}

// 127.0.0.0/8 and ::1, of which an interface has one each.
bool is_loopback(const Address& address) {
  constexpr std::array<std::uint8_t, 4> kNet = {127, 0, 0, 0};
  const Address net = mapped(kNet.data());
  Address one = {};
  one[15] = 1;
  return address == one || std::equal(net.begin(), net.begin() + 13, address.begin());
}

template <typename T>
bool read(std::string_view from, std::size_t at, T& into) {
  if (from.size() < at + sizeof into) return false;
  std::memcpy(&into, from.data() + at, sizeof into);
  return true;
}

// A netlink socket in each network namespace, and the addresses of all of them.
class Namespaces {
 public:
  Result<void> look() {
    TRY_ASSIGN(const UniqueFd own, sys::open("/proc/self/ns/net", O_RDONLY));
    const Defer back([&own] { (void)::setns(own.get(), CLONE_NEWNET); });
    const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
    if (!processes) return fail_errno("list processes");
    Result<void> all;
    while (const dirent* entry = ::readdir(processes.get())) {
      if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
      const auto name = sys::open(fmt::format("/proc/{}/ns/net", entry->d_name), O_RDONLY);
      if (!name) continue;  // it has ended
      TRY_ASSIGN(const struct stat st, sys::fstat(name->get()));
      if (!known_.insert(st.st_ino).second) continue;
      Result<void> seen =
          ::setns(name->get(), CLONE_NEWNET) < 0 ? fail_errno("enter a network namespace of the box") : look_at_this();
      if (all && !seen) all = std::move(seen);
    }
    return all;
  }

  const std::vector<UniqueFd>& sockets() const { return sockets_; }
  bool has(const Address& address) const { return is_loopback(address) || addresses_.contains(address); }

 private:
  Result<void> look_at_this() {
    UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    if (!socket) return fail_errno("make a socket of sock_diag");
    sockets_.push_back(std::move(socket));
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) < 0) return fail_errno("list the addresses of the box");
    const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
    for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next) {
      if (each->ifa_addr == nullptr) continue;
      if (each->ifa_addr->sa_family == AF_INET) {
        addresses_.insert(mapped(&reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr));
      } else if (each->ifa_addr->sa_family == AF_INET6) {
        Address address;
        std::memcpy(address.data(), &reinterpret_cast<const sockaddr_in6*>(each->ifa_addr)->sin6_addr, address.size());
        addresses_.insert(address);
      }
    }
    return {};
  }

  std::set<ino_t> known_;
  std::vector<UniqueFd> sockets_;
  std::set<Address> addresses_;
};

Result<void> send_request(int socket, std::uint16_t type, std::uint16_t flags, const inet_diag_req_v2& body) {
  Request request;
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = NLM_F_REQUEST | flags;
  request.body = body;
  if (::send(socket, &request, sizeof request, 0) < 0) return fail_errno("ask for the box's connections");
  return {};
}

// Hands each message of an answer on until one says that it was the last; an error of the kernel's as its errno.
template <typename Take>
Result<void> read_answer(int socket, Take&& take) {
  std::array<char, 32768> buffer;
  for (;;) {
    const ssize_t count = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return fail_errno("read the box's connections");
    std::string_view left(buffer.data(), static_cast<std::size_t>(count));
    nlmsghdr header;
    while (read(left, 0, header) && header.nlmsg_len >= sizeof header) {
      if (header.nlmsg_type == NLMSG_DONE) return {};
      nlmsgerr error;
      inet_diag_msg connection;
      if (header.nlmsg_type == NLMSG_ERROR && read(left, sizeof header, error)) {
        errno = -error.error;
        return errno == 0 ? Result<void>() : fail_errno("sock_diag");
      }
      if (read(left, sizeof header, connection)) take(connection);
      left.remove_prefix(std::min<std::size_t>((header.nlmsg_len + 3) & ~3U, left.size()));
    }
  }
}

Result<std::vector<inet_diag_msg>> connections_of(int socket, int family) {
  inet_diag_req_v2 all = {};
  all.sdiag_family = static_cast<std::uint8_t>(family);
  all.sdiag_protocol = IPPROTO_TCP;
  all.idiag_states = kConnected;
  TRY(send_request(socket, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, all));
  std::vector<inet_diag_msg> found;
  TRY(read_answer(socket, [&found](const inet_diag_msg& connection) { found.push_back(connection); }));
  return found;
}

Result<void> destroy(int socket, const inet_diag_msg& connection) {
  inet_diag_req_v2 one = {};
  one.sdiag_family = connection.idiag_family;
  one.sdiag_protocol = IPPROTO_TCP;
  one.idiag_states = kConnected;
  one.id = connection.id;
  TRY(send_request(socket, SOCK_DESTROY, NLM_F_ACK, one));
  const auto done = read_answer(socket, [](const inet_diag_msg&) {});
  return done || done.error().error_number() == ENOENT ? Result<void>() : done;
}

}  // namespace

Result<void> break_connections() {
  Namespaces namespaces;
  Result<void> all = namespaces.look();
  const auto note = [&all](Result<void> done) {
    if (all && !done) all = std::move(done);
  };
  for (const UniqueFd& socket : namespaces.sockets()) {
    for (const int family : {AF_INET, AF_INET6}) {
      auto connections = connections_of(socket.get(), family);
      if (!connections) {
        note(std::unexpected(std::move(connections).error()));
        continue;
      }
      for (const inet_diag_msg& connection : *connections) {
        if (!namespaces.has(peer_of(connection))) note(destroy(socket.get(), connection));
      }
    }
  }
  return all;
}

}  // namespace boxlite::agent

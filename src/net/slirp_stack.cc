#include "net/slirp_stack.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <slirp/libslirp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "base/sys.h"
#include "net/accept.h"
#include "net/addresses.h"
#include "net/packet.h"

namespace boxlite::net {
namespace {

in_addr to_in(const IpAddress& address) {
  in_addr result = {};
  std::memcpy(&result, address.bytes().data(), sizeof result);
  return result;
}

in6_addr to_in6(const IpAddress& address) {
  in6_addr result = {};
  std::memcpy(&result, address.bytes().data(), sizeof result);
  return result;
}

int socket_option(int fd, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

short to_poll(int events) {
  short result = 0;
  if ((events & SLIRP_POLL_IN) != 0) result |= POLLIN;
  if ((events & SLIRP_POLL_OUT) != 0) result |= POLLOUT;
  if ((events & SLIRP_POLL_PRI) != 0) result |= POLLPRI;
  return result;
}

int from_poll(short events) {
  int result = 0;
  if ((events & POLLIN) != 0) result |= SLIRP_POLL_IN;
  if ((events & POLLOUT) != 0) result |= SLIRP_POLL_OUT;
  if ((events & POLLPRI) != 0) result |= SLIRP_POLL_PRI;
  if ((events & POLLERR) != 0) result |= SLIRP_POLL_ERR;
  if ((events & POLLHUP) != 0) result |= SLIRP_POLL_HUP;
  return result;
}

// A peer of the host's that vanished without a word would keep its connection for ever: libslirp has no timer for it, the kernel
// has.
void notice_dead_peer(int fd) {
  constexpr int kOn = 1;
  constexpr int kIdleSeconds = 600;
  constexpr int kProbeSeconds = 60;
  (void)::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &kOn, sizeof kOn);
  (void)::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &kIdleSeconds, sizeof kIdleSeconds);
  (void)::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &kProbeSeconds, sizeof kProbeSeconds);
}

// The gate has checked the lengths, and that there are no options.
bool is_reset(std::span<const std::uint8_t> frame) {
  const bool v6 = frame[12] == kTypeIp6 >> 8;
  const std::size_t transport = kEthernetHeader + (v6 ? kIp6Header : kIp4Header);
  const std::size_t protocol = kEthernetHeader + (v6 ? 6 : 9);
  return frame.size() >= transport + kTcpHeader && frame[protocol] == kProtocolTcp && (frame[transport + 13] & kTcpRst) != 0;
}

}  // namespace

struct SlirpCallbacks {
  static SlirpStack& stack(void* opaque) { return *static_cast<SlirpStack*>(opaque); }

  static ssize_t send_packet(const void* frame, std::size_t size, void* opaque) {
    stack(opaque).output_({static_cast<const std::uint8_t*>(frame), size});
    return static_cast<ssize_t>(size);
  }

  static void guest_error(const char*, void*) {}

  static std::int64_t clock_get_ns(void*) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
  }

  // The one timer is that of router advertisements.
  static void* timer_new(SlirpTimerCb, void*, void* opaque) { return opaque; }
  static void timer_free(void*, void*) {}
  static void timer_mod(void*, std::int64_t, void*) {}

  // libslirp passes -1 too, for what it could not open.
  static void register_poll_fd(int fd, void* opaque) {
    if (fd < 0) return;
    SlirpStack& self = stack(opaque);
    self.sockets_.insert(fd);
    if (take_last_accepted() == fd) {
      count(self.counters_.tcp_inward);
      notice_dead_peer(fd);
    } else if (socket_option(fd, SO_TYPE) == SOCK_STREAM) {
      count(self.counters_.tcp_outward);
      notice_dead_peer(fd);
    } else if (socket_option(fd, SO_PROTOCOL) == IPPROTO_UDP) {
      count(self.counters_.udp_flows);
    }
  }
  static void unregister_poll_fd(int fd, void* opaque) {
    if (fd < 0) return;
    SlirpStack& self = stack(opaque);
    self.sockets_.erase(fd);
    forget_accepted(fd);
    if (!self.resetting_) return;
    constexpr linger kReset = {1, 0};
    (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &kReset, sizeof kReset);
  }
  static void notify(void*) {}

  static int add_poll(int fd, int events, void* opaque) { return static_cast<PollSet*>(opaque)->add(fd, to_poll(events)); }
  static int get_revents(int index, void* opaque) { return from_poll(static_cast<const PollSet*>(opaque)->revents(index)); }
  static int no_revents(int, void*) { return 0; }

  static SlirpCb table() {
    SlirpCb callbacks = {};
    callbacks.send_packet = send_packet;
    callbacks.guest_error = guest_error;
    callbacks.clock_get_ns = clock_get_ns;
    callbacks.timer_new = timer_new;
    callbacks.timer_free = timer_free;
    callbacks.timer_mod = timer_mod;
    callbacks.register_poll_fd = register_poll_fd;
    callbacks.unregister_poll_fd = unregister_poll_fd;
    callbacks.notify = notify;
    return callbacks;
  }
};

SlirpStack::SlirpStack(std::uint32_t mtu, NetCounters& counters, Output output)
    : slirp_(nullptr), counters_(counters), output_(std::move(output)) {
  SlirpConfig config = {};
  config.version = 4;
  config.in_enabled = true;
  config.vnetwork = to_in(kNetwork4);
  config.vnetmask.s_addr = htonl(0xffffffffU << (32 - kPrefix4));
  config.vhost = to_in(kHostAlias4);
  config.vdhcp_start = to_in(kGuest4);
  config.vnameserver = to_in(kGateway4);  // ARP requests for it are answered
  config.in6_enabled = true;
  config.vprefix_addr6 = to_in6(kNetwork6);
  config.vprefix_len = kPrefix6;
  config.vhost6 = to_in6(kHostAlias6);
  config.vnameserver6 = to_in6(kGateway6);  // as ARP, so neighbour discovery
  config.if_mtu = mtu;
  config.if_mru = mtu;
  config.disable_dns = true;
  config.disable_dhcp = true;
  static const SlirpCb callbacks = SlirpCallbacks::table();
  slirp_ = ::slirp_new(&config, &callbacks, this);
}

Result<std::unique_ptr<SlirpStack>> SlirpStack::create(std::uint32_t mtu, NetCounters& counters, Output output) {
  std::unique_ptr<SlirpStack> stack(new SlirpStack(mtu, counters, std::move(output)));
  if (stack->slirp_ == nullptr)
    return fail(ErrorCode::kInternal, "libslirp {} refuses an MTU of {}", ::slirp_version_string(), mtu);
  return stack;
}

SlirpStack::~SlirpStack() {
  if (slirp_ != nullptr) ::slirp_cleanup(slirp_);
}

Result<void> SlirpStack::publish_tcp(UniqueFd listener, std::uint16_t box_port) {
  if (socket_option(listener.get(), SO_ACCEPTCONN) != 1 || socket_option(listener.get(), SO_TYPE) != SOCK_STREAM)
    return fail(ErrorCode::kInvalidArgument, "descriptor {} for port {} is no listening TCP socket", listener.get(), box_port);
  // A client that is gone before it is accepted must not stop the loop.
  TRY(sys::set_nonblocking(listener.get(), true));

  // The lowest free descriptor is the one that libslirp's socket gets.
  const int expected = ::dup(listener.get());
  if (expected < 0) return fail_errno("dup");
  ::close(expected);
  sockaddr_in host = {};
  host.sin_family = AF_INET;
  host.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in guest = {};
  guest.sin_family = AF_INET;
  guest.sin_addr = to_in(kGuest4);
  guest.sin_port = htons(box_port);
  if (::slirp_add_hostxfwd(slirp_, reinterpret_cast<sockaddr*>(&host), sizeof host, reinterpret_cast<sockaddr*>(&guest),
                           sizeof guest, 0) < 0)
    return fail_errno("forward port {} of the box", box_port);
  if (socket_option(expected, SO_ACCEPTCONN) != 1)
    return fail(ErrorCode::kInternal, "libslirp {} made its listener for port {} elsewhere", ::slirp_version_string(), box_port);
  if (::dup3(listener.get(), expected, O_CLOEXEC) < 0) return fail_errno("dup3");
  return {};
}

void SlirpStack::input(std::span<const std::uint8_t> frame) {
  resetting_ = is_reset(frame);
  ::slirp_input(slirp_, frame.data(), static_cast<int>(frame.size()));
  resetting_ = false;
}

void SlirpStack::prepare(PollSet& polls) {
  std::uint32_t timeout_ms = UINT32_MAX;
  ::slirp_pollfds_fill(slirp_, &timeout_ms, SlirpCallbacks::add_poll, &polls);
  // libslirp wants to be called every second, and for each listener twice a second, with nothing to do.
  if (!sockets_.empty()) polls.wake_at(Clock::now() + std::chrono::milliseconds(timeout_ms));
}

void SlirpStack::dispatch(const PollSet& polls) {
  ::slirp_pollfds_poll(slirp_, 0, SlirpCallbacks::get_revents, const_cast<PollSet*>(&polls));
}

void SlirpStack::skip_turn() { ::slirp_pollfds_poll(slirp_, 1, SlirpCallbacks::no_revents, nullptr); }

}  // namespace boxlite::net

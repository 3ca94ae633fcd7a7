// libslirp, the TCP/IP stack between the box and the host's sockets, as a part of the event loop.
//
// What it is told and what is left out: no DNS, no DHCP, no TFTP, no emulation of protocols, no router advertisements (they would
// read /etc/resolv.conf, which the sandbox has not; the box is configured by its agent). Host loopback is on in libslirp, since
// replies of published ports need it; the gate decides who may use it. Timers run only while there are connections: an idle box
// wakes nobody.
//
// Not thread safe, one per process (accept.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>

#include "base/result.h"
#include "net/counters.h"
#include "net/poll_set.h"

struct Slirp;

namespace boxlite::net {

class SlirpStack {
 public:
  /// Called with a frame for the guest; during input() and dispatch().
  using Output = std::function<void(std::span<const std::uint8_t> frame)>;

  static Result<std::unique_ptr<SlirpStack>> create(std::uint32_t mtu, NetCounters& counters, Output output);
  SlirpStack(const SlirpStack&) = delete;
  SlirpStack& operator=(const SlirpStack&) = delete;
  ~SlirpStack();

  /// Connections to this listening socket (IPv4 or IPv6) go to the box's port. Takes the socket. Needs socket, bind and listen,
  /// so before the sandbox: libslirp makes a listener of its own, whose descriptor is replaced at once by this one.
  Result<void> publish_tcp(UniqueFd listener, std::uint16_t box_port);

  /// A frame of the guest that passed the gate. A reset of the guest becomes one for its peer (libslirp alone would end the
  /// connection in peace).
  void input(std::span<const std::uint8_t> frame);

  /// Connections and UDP flows that are open.
  std::size_t sockets() const { return sockets_.size(); }
  /// As many as there may be when another begins: fewer than there are descriptors, so that names are still looked up.
  static constexpr std::size_t kMaxSockets = 1792;

  void prepare(PollSet& polls);
  void dispatch(const PollSet& polls);
  /// Instead of prepare() and dispatch() while the guest takes no frames: sockets wait, time goes on.
  void skip_turn();

 private:
  SlirpStack(std::uint32_t mtu, NetCounters& counters, Output output);
  friend struct SlirpCallbacks;

  Slirp* slirp_;
  NetCounters& counters_;
  Output output_;
  bool resetting_ = false;  // during input() of a reset
  std::set<int> sockets_;   // of connections and flows; without one no timer of libslirp has anything to do
};

}  // namespace boxlite::net

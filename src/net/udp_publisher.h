// Published UDP ports. Not libslirp's: it answers by one socket for each port of the box, so a port published twice (127.0.0.1
// and [::1]) would answer from the wrong one, and it has no IPv6 client for an IPv4 service.
//
// A flow is a client at one of the sockets. The box sees the client's own address where it can answer to it, else the host alias
// with a port of its own (as accept.h does for TCP). Flows are forgotten when there are too many, the least recently used first.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <compare>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "net/client_address.h"
#include "net/counters.h"
#include "net/packet.h"
#include "net/poll_set.h"

namespace boxlite::net {

class UdpPublisher {
 public:
  static constexpr std::size_t kMaxFlows = 4096;
  using Output = std::function<void(std::span<const std::uint8_t> frame)>;

  UdpPublisher(std::uint32_t mtu, NetCounters& counters, Output output)
      : mtu_(mtu), counters_(counters), output_(std::move(output)) {}

  /// Takes a bound UDP socket.
  Result<void> publish(UniqueFd socket, std::uint16_t box_port);

  void prepare(PollSet& polls);
  void dispatch(const PollSet& polls);

  /// A UDP packet of the box. False if it belongs to no flow here.
  bool reply(const Packet& packet);

 private:
  struct Listener {
    UniqueFd socket;
    std::uint16_t box_port = 0;
    int poll_index = -1;
  };
  // The client as the box names it.
  struct Visible {
    IpAddress address;
    std::uint16_t port = 0;
    std::uint16_t box_port = 0;
    auto operator<=>(const Visible&) const = default;
  };
  // The client as the host names it.
  struct Client {
    std::size_t listener = 0;
    IpAddress address;
    std::uint16_t port = 0;
    auto operator<=>(const Client&) const = default;
  };
  struct Flow {
    Visible visible;
    Client client;
    sockaddr_storage address = {};
    socklen_t address_size = 0;
  };
  using Flows = std::list<Flow>;  // the most recently used first

  void receive(std::size_t listener);
  Flows::iterator flow_of(const Client& client, const sockaddr_storage& address, socklen_t size);
  Visible choose_visible(const Client& client) const;

  std::uint32_t mtu_;
  NetCounters& counters_;
  Output output_;
  std::vector<Listener> listeners_;
  Flows flows_;
  std::map<Visible, Flows::iterator> by_visible_;
  std::map<Client, Flows::iterator> by_client_;
};

}  // namespace boxlite::net

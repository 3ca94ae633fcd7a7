// What a shim tells its boxlite-net: the first line on the control socket (docs/formats/network.md).
//
// Descriptors are inherited under the numbers given here. NIC: one end of socketpair(AF_UNIX, SOCK_DGRAM), whose other end QEMU
// has as
// `-netdev dgram,id=n0,local.type=fd,local.str=N`; one Ethernet frame per datagram. (Decision 011 has the choice.)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace boxlite::net {

enum class Protocol { kTcp, kUdp };

/// "tcp" or "udp".
std::string_view name(Protocol protocol);
std::optional<Protocol> protocol_from_name(std::string_view name);

/// A published port: a socket bound to the host's address; TCP: listening already.
struct NetListener {
  int fd = -1;
  Protocol protocol = Protocol::kTcp;
  std::uint16_t box_port = 0;
  bool ipv6 = false;  // the family of the host's address; the box is reached by IPv4 either way

  bool operator==(const NetListener&) const = default;
};

struct NetConfig {
  int nic = -1;
  int launcher = -1;  // pidfd of the shim: its end is the network's end
  int counters = -1;  // create_counters()
  int lock = -1;      // the VM's lock, kept open: whoever waits for it finds the ports free; -1: none
  std::uint32_t mtu = 1500;
  bool host_access = false;          // host.boxlite.internal leads to the host's loopback
  std::vector<std::string> allow;    // texts of parse_allow_rule(); empty: everything that may be reached at all
  std::uint64_t tx_kbps = 0;         // kilobits a second that the box may send; 0: no limit
  std::uint64_t rx_kbps = 0;         // … receive
  std::optional<std::uint32_t> uid;  // become this user and group; absent: stay
  std::vector<NetListener> listeners;
  std::vector<std::string> resolvers;  // addresses of name servers, as seen from the host

  bool operator==(const NetConfig&) const = default;
};

Json to_json(const NetConfig& config);
/// kCorrupt naming what is wrong. Descriptors are numbers here; whether they are open is not known.
Result<NetConfig> net_config_from_json(const Json& json);

}  // namespace boxlite::net

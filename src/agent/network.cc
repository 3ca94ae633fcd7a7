#include "agent/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <net/route.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <string>

#include "base/sys.h"

namespace boxlite::agent {
namespace {

constexpr std::string_view kNetworkDevice = "eth0";

ifreq request() {
  ifreq result = {};
  kNetworkDevice.copy(result.ifr_name, sizeof result.ifr_name - 1);
  return result;
}

sockaddr address4(const std::string& text) {
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  ::inet_pton(AF_INET, text.c_str(), &in.sin_addr);  // checked by parse_container()
  sockaddr generic = {};
  std::memcpy(&generic, &in, sizeof generic);
  return generic;
}

sockaddr netmask(unsigned prefix) {
  sockaddr_in in = {};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(prefix == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix));
  sockaddr generic = {};
  std::memcpy(&generic, &in, sizeof generic);
  return generic;
}

in6_addr address6(const std::string& text) {
  in6_addr address = {};
  ::inet_pton(AF_INET6, text.c_str(), &address);
  return address;
}

Result<void> set_sysctl(std::string_view name, std::string_view value) {
  const std::string path = fmt::format("/proc/sys/net/ipv6/conf/{}/{}", kNetworkDevice, name);
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_WRONLY));
  return sys::write_all(fd.get(), value);
}

Result<void> configure4(const NetworkOptions& options) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("socket");
  ifreq change = request();
  change.ifr_mtu = static_cast<int>(options.mtu);
  if (::ioctl(socket.get(), SIOCSIFMTU, &change) < 0) return fail_errno("set the MTU of {} to {}", kNetworkDevice, options.mtu);
  change = request();
  change.ifr_addr = address4(options.address4);
  if (::ioctl(socket.get(), SIOCSIFADDR, &change) < 0)
    return fail_errno("give {} the address {}", kNetworkDevice, options.address4);
  change = request();
  change.ifr_netmask = netmask(options.prefix4);
  if (::ioctl(socket.get(), SIOCSIFNETMASK, &change) < 0) return fail_errno("set the subnet of {}", kNetworkDevice);
  change = request();
  change.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &change) < 0) return fail_errno("raise {}", kNetworkDevice);
  rtentry route = {};
  route.rt_dst = address4("0.0.0.0");
  route.rt_genmask = address4("0.0.0.0");
  route.rt_gateway = address4(options.gateway4);
  route.rt_flags = RTF_UP | RTF_GATEWAY;
  if (::ioctl(socket.get(), SIOCADDRT, &route) < 0) return fail_errno("route by {}", options.gateway4);
  return {};
}

// Once the device is up.
Result<void> configure6(const NetworkOptions& options) {
  const UniqueFd socket(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("socket");
  ifreq device = request();
  if (::ioctl(socket.get(), SIOCGIFINDEX, &device) < 0) return fail_errno("find {}", kNetworkDevice);
  in6_ifreq change = {};
  change.ifr6_addr = address6(options.address6);
  change.ifr6_prefixlen = options.prefix6;
  change.ifr6_ifindex = device.ifr_ifindex;
  if (::ioctl(socket.get(), SIOCSIFADDR, &change) < 0)
    return fail_errno("give {} the address {}", kNetworkDevice, options.address6);
  in6_rtmsg route = {};
  route.rtmsg_gateway = address6(options.gateway6);
  route.rtmsg_metric = 1;
  route.rtmsg_flags = RTF_UP | RTF_GATEWAY;
  route.rtmsg_ifindex = device.ifr_ifindex;
  if (::ioctl(socket.get(), SIOCADDRT, &route) < 0) return fail_errno("route by {}", options.gateway6);
  return {};
}

}  // namespace

Result<void> raise_network(const NetworkOptions& options) {
  // Before the device is up. Duplicate address detection would keep its addresses unused for a second.
  for (const auto& [name, value] : {std::pair("accept_ra", "0"), std::pair("autoconf", "0"), std::pair("accept_dad", "0")})
    TRY(set_sysctl(name, value));
  TRY(configure4(options));
  if (!options.address6.empty()) TRY(configure6(options));
  return {};
}

}  // namespace boxlite::agent

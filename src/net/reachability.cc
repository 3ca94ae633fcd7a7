#include "net/reachability.h"

#include <algorithm>
#include <array>

#include "net/addresses.h"

namespace boxlite::net {
namespace {

struct Range {
  IpAddress network;
  unsigned prefix;
};

constexpr std::array kNever = {
    Range{IpAddress::v4(0, 0, 0, 0), 8},       // "this host": Linux connects to itself, RFC 1122 section 3.2.1.3
    Range{IpAddress::v4(127, 0, 0, 0), 8},     // loopback
    Range{IpAddress::v4(169, 254, 0, 0), 16},  // link-local, with the metadata services of clouds
    Range{IpAddress::v4(224, 0, 0, 0), 4},     // multicast
    Range{IpAddress::v4(240, 0, 0, 0), 4},     // reserved, with the broadcast address, which libslirp maps to loopback
    Range{IpAddress::v6({}), 96},              // unspecified (connects to the host itself), loopback, IPv4-compatible
    Range{IpAddress::v6({0xfe, 0x80}), 10},    // link-local
    Range{IpAddress::v6({0xff}), 8},           // multicast
    Range{IpAddress::v6({0xfd, 0x00, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54}), 128},  // EC2's metadata service
    Range{IpAddress::v6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}), 96},  // IPv4-mapped: is an IPv4 socket
};

// Where an IPv4 address is part of an IPv6 one, and a router of the host's network may take it out again.
struct Embedding {
  Range range;
  std::size_t offset;
};
constexpr std::array kEmbeddings = {
    Embedding{{IpAddress::v6({0x00, 0x64, 0xff, 0x9b}), 96}, 12},              // NAT64, RFC 6052
    Embedding{{IpAddress::v6({0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}), 48}, 12},  // NAT64 with a prefix of the site, RFC 8215
    Embedding{{IpAddress::v6({0x20, 0x02}), 16}, 2},                           // 6to4, RFC 3056
};

}  // namespace

bool never_reachable(const IpAddress& destination) {
  if (std::ranges::any_of(kNever, [&](const Range& range) { return destination.in(range.network, range.prefix); })) return true;
  return std::ranges::any_of(kEmbeddings, [&](const Embedding& form) {
    if (!destination.in(form.range.network, form.range.prefix)) return false;
    const IpAddress inner = IpAddress::from_bytes(destination.bytes().subspan(form.offset, 4));
    return never_reachable(inner) || inner.in(kNetwork4, kPrefix4);
  });
}

bool never_reachable(const IpAddress& network, unsigned prefix) {
  if (prefix == network.bits()) return never_reachable(network);
  return std::ranges::any_of(
      kNever, [&](const Range& range) { return prefix >= range.prefix && network.in(range.network, range.prefix); });
}

bool is_multicast_or_broadcast(const IpAddress& destination) {
  return destination.in(IpAddress::v4(224, 0, 0, 0), 4) || destination == IpAddress::v4(255, 255, 255, 255) ||
         destination == kNetwork4.with_last_byte(255) || destination.in(IpAddress::v6({0xff}), 8);
}

}  // namespace boxlite::net

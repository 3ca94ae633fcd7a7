#include "runtime/published_ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <tuple>

#include "base/sys.h"
#include "runtime/port_holder.h"

namespace boxlite {
namespace {

constexpr const char* kDefaultAddress = "127.0.0.1";
constexpr std::size_t kMaxPorts = 512;
constexpr int kBacklog = 1024;
constexpr unsigned kMaxPort = 65535;
constexpr std::string_view kPublishedPort = "published port";

struct Range {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  unsigned size() const { return last - first + 1U; }
};

template <typename... Arguments>
std::unexpected<Error> bad_port(std::string_view value, fmt::format_string<Arguments...> why, Arguments&&... arguments) {
  return fail(ErrorCode::kInvalidArgument, "--publish {}: {}", value.empty() ? "\"\"" : value,
              fmt::format(why, std::forward<Arguments>(arguments)...));
}

std::optional<std::uint16_t> port_number(std::string_view text, unsigned least) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || number < least || number > kMaxPort)
    return std::nullopt;
  return static_cast<std::uint16_t>(number);
}

std::optional<Range> port_range(std::string_view text, unsigned least) {
  const std::size_t dash = text.find('-');
  const auto first = port_number(text.substr(0, dash), least);
  const auto last = dash == std::string_view::npos ? first : port_number(text.substr(dash + 1), least);
  if (!first || !last || *last < *first) return std::nullopt;
  return Range{*first, *last};
}

Result<sockaddr_storage> socket_address(const std::string& ip, std::uint16_t port) {
  sockaddr_storage storage = {};
  sockaddr_in in4 = {};
  sockaddr_in6 in6 = {};
  if (::inet_pton(AF_INET, ip.c_str(), &in4.sin_addr) == 1) {
    in4.sin_family = AF_INET;
    in4.sin_port = htons(port);
    std::memcpy(&storage, &in4, sizeof in4);
  } else if (::inet_pton(AF_INET6, ip.c_str(), &in6.sin6_addr) == 1) {
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    std::memcpy(&storage, &in6, sizeof in6);
  } else {
    return fail(ErrorCode::kInvalidArgument, "{} is not an IP address", ip);
  }
  return storage;
}

socklen_t address_size(const sockaddr_storage& address) {
  return address.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

// "8080:80/tcp" and its kin: [[IP:][HOST]:]BOX[/PROTOCOL], an IPv6 address in brackets.
Result<void> add_published(std::string_view text, std::vector<PortRequest>& requests) {
  std::string_view rest = text;
  std::string protocol = "tcp";
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos) {
    protocol = rest.substr(slash + 1);
    rest = rest.substr(0, slash);
    std::ranges::transform(protocol, protocol.begin(),
                           [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
    if (protocol != "tcp" && protocol != "udp") return bad_port(text, "protocol \"{}\"; there are tcp and udp", protocol);
  }
  const std::size_t last_colon = rest.rfind(':');
  const bool has_host = last_colon != std::string_view::npos;
  const std::string_view box_text = has_host ? rest.substr(last_colon + 1) : rest;
  const std::string_view host = has_host ? rest.substr(0, last_colon) : std::string_view();
  std::string ip = kDefaultAddress;
  std::string_view host_text = host;
  const bool bracket = host.starts_with('[');
  const std::size_t ip_end = bracket ? host.find("]:") : host.rfind(':');
  if (bracket && ip_end == std::string_view::npos) return bad_port(text, "write an IPv6 address as [ADDRESS]:HOST:BOX");
  if (ip_end != std::string_view::npos) {
    ip = bracket ? host.substr(1, ip_end - 1) : host.substr(0, ip_end);
    host_text = host.substr(ip_end + (bracket ? 2 : 1));
    if (!socket_address(ip, 0)) return bad_port(text, "\"{}\" is not an IP address", ip);
    if (!bracket && ip.find(':') != std::string::npos) return bad_port(text, "write an IPv6 address as [ADDRESS]:HOST:BOX");
  }
  const auto box = port_range(box_text, 1);
  if (!box) return bad_port(text, "\"{}\" is not a port of the box; write HOST:BOX, like 8080:80", box_text);
  std::optional<Range> from;
  if (!host_text.empty() && host_text != "0") {
    from = port_range(host_text, 1);
    if (!from && socket_address(std::string(host_text), 0))
      return bad_port(text, "for any free port of {} write {}::{}", host_text, host_text, box_text);
    if (!from)
      return bad_port(text, "\"{}\" is not a port of the host, nor a range of them; write [IP:]HOST:BOX, like 8080:80",
                      host_text);
    if (box->size() > 1 && from->size() != box->size()) {
      return bad_port(text, "{} ports of the host for {} of the box; the ranges must be of one size", from->size(), box->size());
    }
  }
  if (requests.size() + box->size() > kMaxPorts) return bad_port(text, "more than {} ports", kMaxPorts);
  for (unsigned i = 0; i < box->size(); ++i) {
    PortRequest request;
    request.host_ip = ip;
    request.protocol = protocol;
    request.box_port = static_cast<std::uint16_t>(box->first + i);
    if (from) {
      request.first = static_cast<std::uint16_t>(from->first + (box->size() > 1 ? i : 0));
      request.last = box->size() > 1 ? request.first : from->last;
    }
    requests.push_back(std::move(request));
  }
  return {};
}

// An image's word, which may be anything: what is no port is nothing to publish.
Result<void> add_exposed(std::string_view text, std::vector<PortRequest>& requests) {
  const std::size_t slash = text.find('/');
  const std::string protocol(slash == std::string_view::npos ? "tcp" : text.substr(slash + 1));
  const auto range = port_range(text.substr(0, slash), 1);
  if (!range || (protocol != "tcp" && protocol != "udp")) return {};
  for (unsigned port = range->first; port <= range->last; ++port) {
    const bool known = std::ranges::any_of(
        requests, [&](const PortRequest& request) { return request.box_port == port && request.protocol == protocol; });
    if (known) continue;
    if (requests.size() == kMaxPorts) {
      return fail(
          ErrorCode::kInvalidArgument,
          "--publish-all: the image exposes more than the {} ports that can be published; name those you need with --publish",
          kMaxPorts);
    }
    PortRequest request;
    request.host_ip = kDefaultAddress;
    request.box_port = static_cast<std::uint16_t>(port);
    request.protocol = protocol;
    requests.push_back(std::move(request));
  }
  return {};
}

// Of one family, and one or each of them all addresses.
bool overlap(const std::string& a, const std::string& b) {
  const bool same_family = (a.find(':') == std::string::npos) == (b.find(':') == std::string::npos);
  const auto any = [](const std::string& ip) { return ip == "0.0.0.0" || ip == "::"; };
  return a == b || (same_family && (any(a) || any(b)));
}

Result<void> refuse_doubles(const std::vector<PortRequest>& requests) {
  for (auto one = requests.begin(); one != requests.end(); ++one) {
    if (one->first == 0 || one->first != one->last) continue;
    const bool again = std::any_of(requests.begin(), one, [&](const PortRequest& other) {
      return other.first == one->first && other.last == one->last && other.protocol == one->protocol &&
             overlap(other.host_ip, one->host_ip);
    });
    if (again) {
      return fail(ErrorCode::kInvalidArgument, "--publish: {}/{} is asked for twice; a port of the host leads to one of the box",
                  address_text(one->host_ip, one->first), one->protocol);
    }
  }
  return {};
}

std::unexpected<Error> explain(const PortRequest& request, std::uint16_t port, const sockaddr_storage& address, int error,
                               const PortOwner& owner) {
  const std::string what = fmt::format("port {}/{}", address_text(request.host_ip, port), request.protocol);
  if (error == EADDRINUSE) {
    std::string holder;
    if (owner) holder = owner({.host_ip = request.host_ip, .host_port = port, .box_port = 0, .protocol = request.protocol});
    if (holder.empty()) holder = port_holder(address, request.protocol == "tcp");
    return fail(ErrorCode::kAlreadyExists, "{} is taken{}", what, holder.empty() ? "" : " by " + holder);
  }
  if (error == EADDRNOTAVAIL) return fail(ErrorCode::kInvalidArgument, "{}: this host has no address {}", what, request.host_ip);
  if (error == EACCES) {
    return fail(ErrorCode::kPermissionDenied,
                "{}: ports below net.ipv4.ip_unprivileged_port_start are root's on this host; publish a higher one", what);
  }
  return std::unexpected(Error::from_errno(error, what));
}

// nullopt: taken. Listens at once: a bound TCP port that does not could be bound again by another.
Result<std::optional<UniqueFd>> try_bind(const sockaddr_storage& address, bool tcp) {
  UniqueFd socket(::socket(address.ss_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("socket");
  const int on = 1;
  // Connections of the box before, in TIME_WAIT, are no hindrance. With UDP this would let two share the port.
  if (tcp && ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0) return fail_errno("SO_REUSEADDR");
  if (address.ss_family == AF_INET6 && ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0)
    return fail_errno("IPV6_V6ONLY");
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(socket.get(), generic, address_size(address)) < 0 || (tcp && ::listen(socket.get(), kBacklog) < 0)) {
    if (errno == EADDRINUSE) return std::nullopt;
    return fail_errno("bind");
  }
  return std::optional(std::move(socket));
}

Result<std::uint16_t> bound_port(int socket) {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) < 0) return fail_errno("getsockname");
  sockaddr_in in4 = {};
  std::memcpy(&in4, &address, sizeof in4);  // the port is at one place in both
  return ntohs(in4.sin_port);
}

Result<BoundPort> bind_port(const PortRequest& request, const PortOwner& owner) {
  for (unsigned port = request.first;; ++port) {
    TRY_ASSIGN(const sockaddr_storage address, socket_address(request.host_ip, static_cast<std::uint16_t>(port)));
    auto socket = try_bind(address, request.protocol == "tcp");
    if (!socket) return explain(request, static_cast<std::uint16_t>(port), address, socket.error().error_number(), owner);
    if (*socket) {
      BoundPort bound;
      bound.port = {.host_ip = request.host_ip, .host_port = 0, .box_port = request.box_port, .protocol = request.protocol};
      TRY_ASSIGN(bound.port.host_port, bound_port((*socket)->get()));
      bound.fd = std::move(**socket);
      return bound;
    }
    if (port < request.last) continue;
    if (request.first == request.last) return explain(request, static_cast<std::uint16_t>(port), address, EADDRINUSE, owner);
    return fail(ErrorCode::kAlreadyExists, "ports {}-{}/{} are all taken", address_text(request.host_ip, request.first),
                request.last, request.protocol);
  }
}

}  // namespace

std::string address_text(std::string_view ip, std::uint16_t port) {
  return ip.find(':') == std::string_view::npos ? fmt::format("{}:{}", ip, port) : fmt::format("[{}]:{}", ip, port);
}

Result<std::vector<PortRequest>> asked_ports(const BoxOptions& options, const std::vector<std::string>& exposed) {
  std::vector<PortRequest> requests;
  for (const std::string& text : options.publish) TRY(add_published(text, requests));
  TRY(refuse_doubles(requests));
  if (options.publish_all) {
    for (const std::string& text : exposed) TRY(add_exposed(text, requests));
  }
  return requests;
}

Json to_json(const PortRequest& request) {
  return {{"host_ip", request.host_ip},
          {"first", request.first},
          {"last", request.last},
          {"box_port", request.box_port},
          {"protocol", request.protocol}};
}

Result<PortRequest> port_request_from_json(const Json& json) {
  PortRequest request;
  TRY_ASSIGN(request.host_ip, json_get<std::string>(json, "host_ip", kPublishedPort));
  TRY_ASSIGN(request.first, json_get<std::uint16_t>(json, "first", kPublishedPort));
  TRY_ASSIGN(request.last, json_get<std::uint16_t>(json, "last", kPublishedPort));
  TRY_ASSIGN(request.box_port, json_get<std::uint16_t>(json, "box_port", kPublishedPort));
  TRY_ASSIGN(request.protocol, json_get<std::string>(json, "protocol", kPublishedPort));
  return request;
}

Json to_json(const PublishedPort& port) {
  return {{"host_ip", port.host_ip}, {"host_port", port.host_port}, {"box_port", port.box_port}, {"protocol", port.protocol}};
}

Result<PublishedPort> published_port_from_json(const Json& json) {
  PublishedPort port;
  TRY_ASSIGN(port.host_ip, json_get<std::string>(json, "host_ip", kPublishedPort));
  TRY_ASSIGN(port.host_port, json_get<std::uint16_t>(json, "host_port", kPublishedPort));
  TRY_ASSIGN(port.box_port, json_get<std::uint16_t>(json, "box_port", kPublishedPort));
  TRY_ASSIGN(port.protocol, json_get<std::string>(json, "protocol", kPublishedPort));
  return port;
}

Result<std::vector<BoundPort>> bind_ports(const std::vector<PortRequest>& requests, const PortOwner& owner) {
  std::vector<BoundPort> bound;
  // Those of a certain number first: none of these is taken away by a free choice before it.
  for (const bool chosen : {true, false}) {
    for (const PortRequest& request : requests) {
      if ((request.first != 0 && request.first == request.last) != chosen) continue;
      TRY_ASSIGN(BoundPort port, bind_port(request, owner));
      bound.push_back(std::move(port));
    }
  }
  std::ranges::stable_sort(bound, {}, [](const BoundPort& port) { return std::tie(port.port.box_port, port.port.protocol); });
  return bound;
}

}  // namespace boxlite

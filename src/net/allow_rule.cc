#include "net/allow_rule.h"

#include <charconv>
#include <string>

#include "net/addresses.h"
#include "net/reachability.h"

namespace boxlite::net {
namespace {

constexpr const char* kForms = "wanted is ADDRESS[/BITS][:PORT], an IPv6 address with a port in brackets: [ADDRESS[/BITS]]:PORT";

std::optional<unsigned> parse_number(std::string_view text, unsigned least, unsigned most) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) return std::nullopt;
  return value;
}

struct Parts {
  std::string_view network;
  std::optional<std::string_view> port;
};

std::optional<Parts> split(std::string_view text) {
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    const std::string_view network = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (network.find(':') == std::string_view::npos) return std::nullopt;
    if (rest.empty()) return Parts{network, std::nullopt};
    if (!rest.starts_with(':')) return std::nullopt;
    return Parts{network, rest.substr(1)};
  }
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || text.find(':', colon + 1) != std::string_view::npos) return Parts{text, std::nullopt};
  return Parts{text.substr(0, colon), text.substr(colon + 1)};
}

}  // namespace

bool AllowRule::matches(const IpAddress& destination, std::optional<std::uint16_t> port_asked) const {
  return destination.in(network, prefix) && (!port || port == port_asked);
}

Result<AllowRule> parse_allow_rule(std::string_view text) {
  const auto bad = [&] { return fail(ErrorCode::kInvalidArgument, "'{}' is no destination to allow; {}", text, kForms); };
  const auto parts = split(text);
  if (!parts) return bad();
  const std::size_t slash = parts->network.find('/');
  const auto network = IpAddress::parse(parts->network.substr(0, slash));
  if (!network) return bad();
  AllowRule rule{*network, network->bits()};
  if (slash != std::string_view::npos) {
    const auto prefix = parse_number(parts->network.substr(slash + 1), 0, network->bits());
    if (!prefix) return bad();
    rule.prefix = *prefix;
  }
  if (parts->port) {
    const auto port = parse_number(*parts->port, 1, 65535);
    if (!port) return bad();
    rule.port = static_cast<std::uint16_t>(*port);
  }
  if (never_reachable(rule.network, rule.prefix)) {
    return fail(ErrorCode::kInvalidArgument, "'{}': no box ever reaches {}; the host's own services are at {} with --host-access",
                text, parts->network, kHostName);
  }
  return rule;
}

}  // namespace boxlite::net

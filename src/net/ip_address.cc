#include "net/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>

namespace boxlite::net {

IpAddress IpAddress::from_bytes(std::span<const std::uint8_t> bytes) {
  IpAddress address;
  address.is_v6_ = bytes.size() == 16;
  std::ranges::copy(bytes.first(address.is_v6_ ? 16 : 4), address.bytes_.begin());
  return address;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string terminated(text);
  IpAddress address;
  address.is_v6_ = text.find(':') != std::string_view::npos;
  if (::inet_pton(address.is_v6_ ? AF_INET6 : AF_INET, terminated.c_str(), address.bytes_.data()) != 1) return std::nullopt;
  if (text.find('\0') != std::string_view::npos) return std::nullopt;
  return address;
}

std::string IpAddress::text() const {
  std::array<char, INET6_ADDRSTRLEN> buffer;
  return ::inet_ntop(is_v6_ ? AF_INET6 : AF_INET, bytes_.data(), buffer.data(), buffer.size());
}

}  // namespace boxlite::net

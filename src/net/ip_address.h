// An IPv4 or IPv6 address. A value.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace boxlite::net {

class IpAddress {
 public:
  constexpr IpAddress() = default;

  static constexpr IpAddress v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    IpAddress address;
    address.bytes_ = {a, b, c, d};
    return address;
  }
  /// The first bytes; the rest are zero.
  static constexpr IpAddress v6(std::initializer_list<std::uint8_t> first) {
    IpAddress address;
    address.is_v6_ = true;
    std::size_t at = 0;
    for (const std::uint8_t byte : first) address.bytes_[at++] = byte;
    return address;
  }
  /// 4 or 16 bytes in network order.
  static IpAddress from_bytes(std::span<const std::uint8_t> bytes);
  /// "192.0.2.1" or "2001:db8::1", without brackets and scope.
  static std::optional<IpAddress> parse(std::string_view text);

  constexpr IpAddress with_last_byte(std::uint8_t last) const {
    IpAddress address = *this;
    address.bytes_[is_v6_ ? 15 : 3] = last;
    return address;
  }

  constexpr bool is_v6() const { return is_v6_; }
  constexpr unsigned bits() const { return is_v6_ ? 128 : 32; }
  /// 4 or 16 bytes.
  std::span<const std::uint8_t> bytes() const { return std::span(bytes_).first(is_v6_ ? 16 : 4); }
  std::string text() const;

  /// True if the first `prefix` bits are those of `network`, of the same family.
  constexpr bool in(const IpAddress& network, unsigned prefix) const {
    if (is_v6_ != network.is_v6_) return false;
    for (std::size_t i = 0; i < bytes_.size() && prefix > 0; ++i) {
      const unsigned take = prefix < 8 ? prefix : 8;
      const auto mask = static_cast<std::uint8_t>(0xff << (8 - take));
      if (((bytes_[i] ^ network.bytes_[i]) & mask) != 0) return false;
      prefix -= take;
    }
    return true;
  }

  auto operator<=>(const IpAddress&) const = default;

 private:
  bool is_v6_ = false;
  std::array<std::uint8_t, 16> bytes_ = {};
};

}  // namespace boxlite::net

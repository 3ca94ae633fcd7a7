// Integers in network byte order, and the checksum of RFC 1071.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "net/ip_address.h"

namespace boxlite::net {

inline std::uint16_t get16(std::span<const std::uint8_t> from, std::size_t at) {
  return static_cast<std::uint16_t>(from[at] << 8 | from[at + 1]);
}
inline std::uint32_t get32(std::span<const std::uint8_t> from, std::size_t at) {
  return static_cast<std::uint32_t>(get16(from, at)) << 16 | get16(from, at + 2);
}
inline void put16(std::span<std::uint8_t> to, std::size_t at, std::size_t value) {
  to[at] = static_cast<std::uint8_t>(value >> 8);
  to[at + 1] = static_cast<std::uint8_t>(value);
}
inline void put32(std::span<std::uint8_t> to, std::size_t at, std::uint32_t value) {
  put16(to, at, value >> 16);
  put16(to, at + 2, value & 0xffff);
}

class Checksum {
 public:
  /// An odd number of bytes only as the last.
  Checksum& add(std::span<const std::uint8_t> bytes) {
    std::size_t i = 0;
    for (; i + 1 < bytes.size(); i += 2) sum_ += get16(bytes, i);
    if (i < bytes.size()) sum_ += static_cast<std::uint64_t>(bytes[i]) << 8;
    return *this;
  }
  Checksum& add(std::uint64_t word) {
    sum_ += word;
    return *this;
  }
  /// What to store; 0 over bytes that hold their own, right checksum.
  std::uint16_t value() const {
    std::uint64_t sum = sum_;
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
  }

 private:
  std::uint64_t sum_ = 0;
};

/// Over a transport header with its data and the pseudo-header of RFC 9293 section 3.1 or RFC 8200 section 8.1.
inline std::uint16_t transport_checksum(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                                        std::span<const std::uint8_t> bytes) {
  return Checksum().add(source.bytes()).add(destination.bytes()).add(protocol).add(bytes.size()).add(bytes).value();
}

}  // namespace boxlite::net

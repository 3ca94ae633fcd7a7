// Link epochs: how two ends find each other on a byte pipe that has no connections.
//
// The portal is one virtio-serial port. Neither end can know what the other wrote before it arrived, and after a host
// reconnect or a restore the pipe may hold old bytes. So the host begins an epoch by writing a 40-byte header with a fresh
// random nonce; the agent answers with the same nonce; each side discards everything until it has seen the other's header.
// After it the mux's frames follow (mux.h). A header may come wherever a frame could begin (a frame begins with 0, a header with
// 'B': Mux::feed() fails at that byte and keeps none of it, so the same bytes can be given to a scanner) and always means: forget
// the old epoch. Inside a frame's payload it is payload: what a user pipes into a command must not be able to cut the link.
//
//   offset  size  field
//        0     8  magic "BOXLITE\x01"
//        8     4  protocol version, big-endian (kProtocolVersion)
//       12     1  sender: 'H' host, 'A' agent
//       13     3  zero
//       16    16  nonce, chosen by the host
//       32     4  zero
//       36     4  CRC-32 (ISO-HDLC, zlib's crc32) of bytes 0–35, big-endian
//
// Sans-IO and not thread safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace boxlite::portal {

inline constexpr std::uint32_t kProtocolVersion = 1;
inline constexpr std::size_t kEpochHeaderSize = 40;
using Nonce = std::array<std::byte, 16>;

enum class Sender : std::uint8_t { kHost = 'H', kAgent = 'A' };

struct EpochHeader {
  std::uint32_t version = kProtocolVersion;
  Sender sender = Sender::kHost;
  Nonce nonce = {};
};

std::array<std::byte, kEpochHeaderSize> encode(const EpochHeader& header);

/// Finds the header of an epoch in a stream of bytes that may begin with anything.
class EpochScanner {
 public:
  /// `wanted`: whose headers to look for. `nonce`: only this epoch (the host waits for its own nonce); nullopt: any.
  EpochScanner(Sender wanted, std::optional<Nonce> nonce) : wanted_(wanted), nonce_(nonce) {}

  struct Found {
    EpochHeader header;
    std::size_t consumed;  // bytes of the last feed() up to and including the header; the rest belongs to the mux
  };
  /// Feeds bytes in any portions. At most kEpochHeaderSize − 1 bytes are kept between calls.
  std::optional<Found> feed(std::span<const std::byte> data);

 private:
  Sender wanted_;
  std::optional<Nonce> nonce_;
  std::vector<std::byte> window_;
};

}  // namespace boxlite::portal

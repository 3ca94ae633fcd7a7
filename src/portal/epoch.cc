#include "portal/epoch.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "portal/byte_order.h"

namespace boxlite::portal {
namespace {

constexpr std::array<std::byte, 8> kMagic = {std::byte{'B'}, std::byte{'O'}, std::byte{'X'}, std::byte{'L'},
                                             std::byte{'I'}, std::byte{'T'}, std::byte{'E'}, std::byte{1}};
constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kSenderAt = 12;
constexpr std::size_t kNonceAt = 16;
constexpr std::size_t kCrcAt = 36;

std::uint32_t crc_of(const std::byte* header) {
  return static_cast<std::uint32_t>(::crc32(0, reinterpret_cast<const Bytef*>(header), kCrcAt));
}

/// The header at `at`, whose magic has been seen. The reserved bytes are covered by the CRC and otherwise ignored, so that a
/// later version may use them.
std::optional<EpochHeader> decode(const std::byte* at) {
  if (get_be<std::uint32_t>(at + kCrcAt) != crc_of(at)) return std::nullopt;
  EpochHeader header;
  header.version = get_be<std::uint32_t>(at + kVersionAt);
  header.sender = static_cast<Sender>(at[kSenderAt]);
  std::copy_n(at + kNonceAt, header.nonce.size(), header.nonce.begin());
  return header;
}

}  // namespace

std::array<std::byte, kEpochHeaderSize> encode(const EpochHeader& header) {
  std::array<std::byte, kEpochHeaderSize> out = {};
  std::ranges::copy(kMagic, out.begin());
  put_be(out.data() + kVersionAt, header.version);
  out[kSenderAt] = static_cast<std::byte>(header.sender);
  std::ranges::copy(header.nonce, out.begin() + kNonceAt);
  put_be(out.data() + kCrcAt, crc_of(out.data()));
  return out;
}

std::optional<EpochScanner::Found> EpochScanner::feed(std::span<const std::byte> data) {
  const std::size_t kept = window_.size();
  window_.insert(window_.end(), data.begin(), data.end());
  auto from = window_.begin();
  for (;;) {
    from = std::search(from, window_.end(), kMagic.begin(), kMagic.end());
    if (static_cast<std::size_t>(window_.end() - from) < kEpochHeaderSize) break;
    const auto header = decode(std::to_address(from));
    if (header && header->sender == wanted_ && (!nonce_ || header->nonce == *nonce_)) {
      const auto end = static_cast<std::size_t>(from - window_.begin()) + kEpochHeaderSize;
      window_.clear();
      return Found{*header, end - kept};
    }
    ++from;
  }
  // What may be the beginning of a header stays: all from a magic on, or the last bytes, which may be a part of one.
  const auto tail = std::min(window_.size(), kEpochHeaderSize - 1);
  window_.erase(window_.begin(), window_.end() - static_cast<std::ptrdiff_t>(tail));
  return std::nullopt;
}

}  // namespace boxlite::portal

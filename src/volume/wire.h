// The bytes of 9P2000.L messages (https://ericvh.github.io/9p-rfc/, diod's protocol.md): little-endian integers, strings with a
// 16-bit length. A message is size[4] type[1] tag[2] body; size counts itself.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace boxlite::volume {

inline constexpr std::size_t kHeaderSize = 7;

enum class Message : std::uint8_t {
  kRlerror = 7,
  kTstatfs = 8,
  kTlopen = 12,
  kTlcreate = 14,
  kTsymlink = 16,
  kTmknod = 18,
  kTreadlink = 22,
  kTgetattr = 24,
  kTsetattr = 26,
  kTxattrwalk = 30,
  kTxattrcreate = 32,
  kTreaddir = 40,
  kTfsync = 50,
  kTlock = 52,
  kTgetlock = 54,
  kTlink = 70,
  kTmkdir = 72,
  kTrenameat = 74,
  kTunlinkat = 76,
  kTversion = 100,
  kTattach = 104,
  kTflush = 108,
  kTwalk = 110,
  kTread = 116,
  kTwrite = 118,
  kTclunk = 120,
  kTremove = 122,
};

/// Takes values from a body. What is not there reads as 0, and ok() tells: to be asked before anything is done.
class Reader {
 public:
  explicit Reader(std::string_view body) : rest_(body) {}

  template <typename Number>
  Number number() {
    Number value = 0;
    const std::string_view bytes = take(sizeof value);
    if (ok_) std::memcpy(&value, bytes.data(), sizeof value);  // the hosts are little-endian
    return value;
  }
  std::uint8_t u8() { return number<std::uint8_t>(); }
  std::uint16_t u16() { return number<std::uint16_t>(); }
  std::uint32_t u32() { return number<std::uint32_t>(); }
  std::uint64_t u64() { return number<std::uint64_t>(); }
  std::string text() { return std::string(take(u16())); }
  std::string_view bytes(std::size_t count) { return take(count); }
  bool ok() const { return ok_; }

 private:
  std::string_view take(std::size_t count) {
    if (!ok_ || count > rest_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  std::string_view rest_;
  bool ok_ = true;
};

/// A reply's body.
class Writer {
 public:
  template <typename Number>
  void number(Number value) {
    body_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void u8(std::uint8_t value) { number(value); }
  void u16(std::uint16_t value) { number(value); }
  void u32(std::uint32_t value) { number(value); }
  void u64(std::uint64_t value) { number(value); }
  void text(std::string_view value) {
    u16(static_cast<std::uint16_t>(value.size()));
    body_ += value;
  }
  std::string& body() { return body_; }

 private:
  std::string body_;
};

}  // namespace boxlite::volume

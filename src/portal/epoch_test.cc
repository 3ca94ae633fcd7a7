#include "portal/epoch.h"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

namespace boxlite::portal {
namespace {

using Bytes = std::vector<std::byte>;

Nonce nonce_of(int seed) {
  Nonce nonce;
  for (std::size_t i = 0; i < nonce.size(); ++i) nonce[i] = static_cast<std::byte>(seed + static_cast<int>(i));
  return nonce;
}

Bytes header_bytes(Sender sender, const Nonce& nonce, std::uint32_t version = kProtocolVersion) {
  const auto header = encode({version, sender, nonce});
  return {header.begin(), header.end()};
}

void append(Bytes& to, const Bytes& from) { to.insert(to.end(), from.begin(), from.end()); }

TEST(EpochTest, TheHeaderHasTheDocumentedBytes) {
  const auto header = encode({1, Sender::kHost, nonce_of(0x10)});
  const std::string text(reinterpret_cast<const char*>(header.data()), header.size());
  EXPECT_EQ(text.substr(0, 16), std::string("BOXLITE\x01\0\0\0\x01H\0\0\0", 16));
  EXPECT_EQ(header[16], std::byte{0x10});
  EXPECT_EQ(header[31], std::byte{0x1f});
  EXPECT_EQ(text.substr(32, 4), std::string(4, '\0'));
  EXPECT_EQ(text.substr(36), "\x9b\x7e\x8e\x11");  // Python: zlib.crc32(header[:36])
}

TEST(EpochTest, AHeaderIsFoundBehindAnythingAndTheRestIsLeft) {
  Bytes data(1000, std::byte{'B'});
  append(data, header_bytes(Sender::kHost, nonce_of(1)));
  data.push_back(std::byte{0});
  EpochScanner scanner(Sender::kHost, std::nullopt);
  const auto found = scanner.feed(data);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->consumed, 1040U);
  EXPECT_EQ(found->header.nonce, nonce_of(1));
  EXPECT_EQ(found->header.version, kProtocolVersion);
}

TEST(EpochTest, AHeaderIsFoundWhereverItIsCut) {
  Bytes data(7, std::byte{'x'});
  append(data, header_bytes(Sender::kAgent, nonce_of(2)));
  for (std::size_t cut = 0; cut <= data.size(); ++cut) {
    EpochScanner scanner(Sender::kAgent, nonce_of(2));
    const auto first = scanner.feed(std::span(data).first(cut));
    if (cut == data.size()) {
      ASSERT_TRUE(first);
      continue;
    }
    ASSERT_FALSE(first) << cut;
    const auto second = scanner.feed(std::span(data).subspan(cut));
    ASSERT_TRUE(second) << cut;
    EXPECT_EQ(second->consumed, data.size() - cut);
  }
}

TEST(EpochTest, ByteByByteConsumesOneByteEach) {
  const Bytes data = header_bytes(Sender::kHost, nonce_of(3));
  EpochScanner scanner(Sender::kHost, std::nullopt);
  for (std::size_t i = 0; i + 1 < data.size(); ++i) ASSERT_FALSE(scanner.feed(std::span(&data[i], 1)));
  const auto found = scanner.feed(std::span(&data.back(), 1));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->consumed, 1U);
}

TEST(EpochTest, AnotherSenderAnotherNonceAndADamagedHeaderAreSkipped) {
  Bytes data = header_bytes(Sender::kHost, nonce_of(4));    // an echo of our own
  append(data, header_bytes(Sender::kAgent, nonce_of(5)));  // of an older epoch
  Bytes damaged = header_bytes(Sender::kAgent, nonce_of(4));
  damaged[20] ^= std::byte{1};
  append(data, damaged);
  const Bytes good = header_bytes(Sender::kAgent, nonce_of(4));
  append(data, Bytes(good.begin(), good.begin() + 20));  // cut off by the next
  const std::size_t before = data.size();
  append(data, good);
  EpochScanner scanner(Sender::kAgent, nonce_of(4));
  const auto found = scanner.feed(data);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->consumed, before + kEpochHeaderSize);
}

TEST(EpochTest, AHeaderOfAnotherVersionIsShownSoThatItCanBeRefused) {
  EpochScanner scanner(Sender::kHost, std::nullopt);
  const auto found = scanner.feed(header_bytes(Sender::kHost, nonce_of(6), 77));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->header.version, 77U);
}

TEST(EpochTest, EveryFlippedBitHidesTheHeader) {
  const Bytes good = header_bytes(Sender::kHost, nonce_of(7));
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    EpochScanner scanner(Sender::kHost, std::nullopt);
    ASSERT_FALSE(scanner.feed(bad)) << bit;
  }
}

TEST(EpochTest, AFewHeadersInNoiseAreFoundForAnyPortions) {
  std::mt19937 random(42);
  for (int round = 0; round < 50; ++round) {
    Bytes noise;
    for (int i = 0; i < 3000; ++i) noise.push_back(static_cast<std::byte>("BOXLITE\x01"[random() % 8]));
    append(noise, header_bytes(Sender::kHost, nonce_of(round)));
    EpochScanner scanner(Sender::kHost, nonce_of(round));
    std::size_t at = 0;
    bool found = false;
    while (at < noise.size()) {
      const std::size_t count = std::min<std::size_t>(1 + random() % 100, noise.size() - at);
      const auto result = scanner.feed(std::span(noise).subspan(at, count));
      if (result) {
        found = true;
        at += result->consumed;
        break;
      }
      at += count;
    }
    EXPECT_TRUE(found);
    EXPECT_EQ(at, noise.size());
  }
}

}  // namespace
}  // namespace boxlite::portal

#include "agent/output_ring.h"

#include <gtest/gtest.h>

#include <string>

namespace boxlite::agent {
namespace {

std::string all(const OutputRing& ring) {
  std::string text;
  for (std::uint64_t offset = ring.begin(); offset < ring.end();) {
    const std::string_view piece = ring.peek(offset, 1000);
    if (piece.empty()) break;
    text += piece;
    offset += piece.size();
  }
  return text;
}

std::string pattern(std::size_t from, std::size_t count) {
  std::string text(count, '\0');
  for (std::size_t i = 0; i < count; ++i) text[i] = static_cast<char>((from + i) * 7 + (from + i) / 251);
  return text;
}

TEST(OutputRingTest, KeepsEverythingUpToItsCapacity) {
  OutputRing ring;
  std::string expected;
  while (expected.size() < OutputRing::kCapacity) {
    const std::string piece = pattern(expected.size(), std::min<std::size_t>(777, OutputRing::kCapacity - expected.size()));
    ring.append(piece);
    expected += piece;
  }
  EXPECT_EQ(ring.begin(), 0U);
  EXPECT_EQ(ring.end(), OutputRing::kCapacity);
  EXPECT_EQ(all(ring), expected);
}

TEST(OutputRingTest, DropsTheOldestBytesAndKeepsOffsetsAbsolute) {
  OutputRing ring;
  std::size_t written = 0;
  while (written < 3 * OutputRing::kCapacity + 123) {
    const std::string piece = pattern(written, 5000);
    ring.append(piece);
    written += piece.size();
  }
  EXPECT_EQ(ring.end(), written);
  EXPECT_EQ(ring.begin(), written - OutputRing::kCapacity);
  EXPECT_EQ(all(ring), pattern(written - OutputRing::kCapacity, OutputRing::kCapacity));
}

TEST(OutputRingTest, OneWriteLargerThanTheCapacityKeepsItsEnd) {
  OutputRing ring;
  ring.append(std::string("begin"));
  const std::string big = pattern(5, OutputRing::kCapacity + 1000);
  ring.append(big);
  EXPECT_EQ(ring.end(), big.size() + 5);
  EXPECT_EQ(all(ring), big.substr(1000));
}

TEST(OutputRingTest, RoomProtectsWhatTheSlowestReaderHasNotHad) {
  OutputRing ring;
  EXPECT_EQ(ring.room(0), OutputRing::kCapacity);
  ring.append(std::string(1000, 'x'));
  EXPECT_EQ(ring.room(0), OutputRing::kCapacity - 1000);
  EXPECT_EQ(ring.room(400), OutputRing::kCapacity - 600);
  EXPECT_EQ(ring.room(std::nullopt), OutputRing::kCapacity);
  ring.append(std::string(OutputRing::kCapacity - 1000, 'y'));
  EXPECT_EQ(ring.room(0), 0U);
  EXPECT_EQ(ring.room(ring.end()), OutputRing::kCapacity);
}

TEST(OutputRingTest, PeekOutsideOfWhatIsKeptIsEmpty) {
  OutputRing ring;
  EXPECT_TRUE(ring.peek(0, 10).empty());
  ring.append(std::string("abc"));
  EXPECT_EQ(ring.peek(1, 10), "bc");
  EXPECT_TRUE(ring.peek(3, 10).empty());
  EXPECT_TRUE(ring.peek(99, 10).empty());
  ring.clear();
  EXPECT_TRUE(ring.peek(1, 10).empty());
  EXPECT_EQ(ring.end(), 3U);
  ring.append(std::string("de"));
  EXPECT_EQ(all(ring), "de");
}

}  // namespace
}  // namespace boxlite::agent

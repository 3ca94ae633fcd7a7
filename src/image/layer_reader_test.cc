#include "image/layer_reader.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include "base/file.h"
#include "image/sha256.h"
#include "image/test_layer.h"

namespace boxlite::image {
namespace {

class LayerReaderTest : public ::testing::Test {
 protected:
  Result<LayerReader> open(const std::string& bytes) {
    TRY(write_file_volatile(path_, bytes, 0600));
    return LayerReader::open(path_, "layer x", budget_, monitor_);
  }

  static TestFile file(const std::string& path, const std::string& content) {
    TestFile file;
    file.entry.path = path;
    file.entry.mode = 0644;
    file.content = content;
    return file;
  }

  static std::string content(LayerReader& reader) {
    std::string text;
    const auto sink = [&](std::uint64_t offset, std::span<const std::byte> data) -> Result<void> {
      text.resize(offset);
      for (const std::byte b : data) text += static_cast<char>(b);
      return {};
    };
    EXPECT_TRUE(reader.content(sink));
    return text;
  }

  TempDir dir_ = *TempDir::create("/tmp", "boxlite-layer-test-");
  std::string path_ = dir_.path() + "/layer";
  std::uint64_t budget_ = 64 * 1024 * 1024;
  bool interrupted_ = false;
  JobMonitor monitor_{[](const JobProgress&) { return Result<void>(); }, [this] { return interrupted_; }};
};

TEST_F(LayerReaderTest, EveryCompressionIsFoundByItsFirstBytesAndGivesTheSameDiffId) {
  const std::vector<TestFile> files = {file("a", "first"), file("b", std::string(300000, 'x'))};
  const Digest diff_id = sha256(make_layer(files, Compression::kNone));
  for (const Compression compression : {Compression::kNone, Compression::kGzip, Compression::kZstd}) {
    auto reader = open(make_layer(files, compression));
    ASSERT_TRUE(reader);
    LayerEntry entry;
    ASSERT_TRUE(*reader->next(entry));
    EXPECT_EQ(entry.path, "a");
    EXPECT_EQ(content(*reader), "first");
    ASSERT_TRUE(*reader->next(entry));
    EXPECT_EQ(entry.size, 300000U);
    EXPECT_FALSE(*reader->next(entry));
    EXPECT_EQ(*reader->finish(), diff_id);
  }
}

TEST_F(LayerReaderTest, TheDiffIdCoversWhatIsBehindTheArchive) {
  const std::string bytes = make_layer({file("a", "x")}, Compression::kNone) + std::string(100000, '\0') + "tail";
  auto reader = open(bytes);
  EXPECT_EQ(*reader->finish(), sha256(bytes));
}

TEST_F(LayerReaderTest, NamesAreTheBytesTheyAre) {
  // Latin-1, a decomposed umlaut, and a long one that needs a pax header.
  for (const std::string& name : {std::string("caf\xe9"), std::string("u\xcc\x88"), std::string(200, 'n') + "/\xc3\xa9"}) {
    auto reader = open(make_layer({file(name, "x")}, Compression::kGzip));
    LayerEntry entry;
    ASSERT_TRUE(*reader->next(entry));
    EXPECT_EQ(entry.path, name);
  }
}

TEST_F(LayerReaderTest, AttributesArrive) {
  TestFile odd = file("odd", "x");
  odd.entry.mode = 04755;
  odd.entry.uid = 3000000;
  odd.entry.gid = 7;
  odd.entry.mtime_seconds = -5;
  odd.entry.mtime_nanoseconds = 123456789;
  odd.entry.xattrs = {{"security.capability", std::string("\x01\x00\x00\x02", 4)}, {"user.a", "b"}};
  TestFile device;
  device.entry.path = "null";
  device.entry.type = FileType::kCharDevice;
  device.entry.device_major = 1;
  device.entry.device_minor = 3;
  auto reader = open(make_layer({odd, device}, Compression::kZstd));
  LayerEntry entry;
  ASSERT_TRUE(*reader->next(entry));
  EXPECT_EQ(entry.mode, 04755U);
  EXPECT_EQ(entry.uid, 3000000U);
  EXPECT_EQ(entry.mtime_seconds, -5);
  EXPECT_EQ(entry.mtime_nanoseconds, 123456789U);
  std::ranges::sort(entry.xattrs);
  EXPECT_EQ(entry.xattrs, odd.entry.xattrs);
  ASSERT_TRUE(*reader->next(entry));
  EXPECT_EQ(entry.type, FileType::kCharDevice);
  EXPECT_EQ(entry.device_minor, 3U);
}

TEST_F(LayerReaderTest, DamagedAndTruncatedStreamsAreErrorsOrHaveAnotherDiffId) {
  Digest expected = sha256("");
  const auto fails = [&](const std::string& bytes) {
    auto reader = open(bytes);
    if (!reader) return true;
    const auto actual = reader->finish();
    return !actual || *actual != expected;
  };
  // Not compressible, so that half the stream is half the content.
  std::string noise;
  for (int i = 0; i < 3000; ++i) noise += sha256(std::to_string(i)).hex();
  for (const Compression compression : {Compression::kNone, Compression::kGzip, Compression::kZstd}) {
    const std::string whole = make_layer({file("a", noise)}, compression);
    expected = sha256(make_layer({file("a", noise)}, Compression::kNone));
    EXPECT_FALSE(fails(whole));
    EXPECT_TRUE(fails(whole.substr(0, whole.size() / 2))) << static_cast<int>(compression);
    std::string flipped = whole;
    flipped[whole.size() / 3] = static_cast<char>(flipped[whole.size() / 3] ^ 0x55);
    EXPECT_TRUE(fails(flipped)) << static_cast<int>(compression);
  }
  EXPECT_TRUE(fails("this is not a tar archive" + std::string(2000, 'x')));
  expected = sha256("");
  EXPECT_FALSE(fails(""));
}

TEST_F(LayerReaderTest, ACompressionBombEndsAtTheBudget) {
  const std::string bomb = make_layer({file("zeros", std::string(32 * 1024 * 1024, '\0'))}, Compression::kGzip);
  budget_ = 1024 * 1024;
  auto reader = open(bomb);
  const auto result = reader->finish();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kResourceExhausted);
}

std::string zstd_frame(std::string_view data) {
  std::string frame(ZSTD_compressBound(data.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), data.data(), data.size(), 1));
  return frame;
}

// Frames whose ends fall together with those of the buffers, too.
TEST_F(LayerReaderTest, ZstdFramesFollowEachOther) {
  const std::string whole = make_layer({file("a", std::string(std::size_t{5} * 128 * 1024, 'x'))}, Compression::kNone);
  for (const std::size_t size : {std::size_t{1000}, std::size_t{65536}, std::size_t{131072}, std::size_t{262144}}) {
    std::string frames;
    for (std::size_t at = 0; at < whole.size(); at += size) frames += zstd_frame(std::string_view(whole).substr(at, size));
    auto reader = open(frames);
    const auto digest = reader->finish();
    ASSERT_TRUE(digest) << digest.error().message();
    EXPECT_EQ(*digest, sha256(whole)) << size;
  }
}

TEST_F(LayerReaderTest, OneEntrysHeadersAreBounded) {
  TestFile greedy = file("a", "x");
  for (int i = 0; i < 100; ++i) greedy.entry.xattrs.emplace_back(fmt::format("user.{}", i), std::string(20000, 'v'));
  auto reader = open(make_layer({greedy}, Compression::kGzip));
  LayerEntry entry;
  const auto result = reader->next(entry);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt);
}

TEST_F(LayerReaderTest, WhatIsSkippedDoesNotCountAsTheNextEntrysHeaders) {
  auto reader =
      open(make_layer({file("large", std::string(std::size_t{5} * 1024 * 1024, 'x')), file("b", "x")}, Compression::kNone));
  LayerEntry entry;
  ASSERT_TRUE(*reader->next(entry));
  ASSERT_TRUE(reader->next(entry));
  EXPECT_EQ(entry.path, "b");
}

TEST_F(LayerReaderTest, ACompressionInsideACompressionIsNotUndone) {
  const std::string twice = make_layer({file("a", "x")}, Compression::kGzip);
  auto reader = open(make_layer({file("inner.gz", twice)}, Compression::kGzip));
  LayerEntry entry;
  ASSERT_TRUE(*reader->next(entry));
  EXPECT_EQ(content(*reader), twice);
}

TEST_F(LayerReaderTest, AnInterruptedJobStopsReading) {
  auto reader = open(make_layer({file("a", std::string(3 * 1024 * 1024, 'x'))}, Compression::kNone));
  interrupted_ = true;
  const auto result = reader->finish();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace boxlite::image

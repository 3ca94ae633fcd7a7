#include "files/tar_reader.h"

#include <gtest/gtest.h>

#include <cstring>

namespace boxlite::files {
namespace {

Source source_in_steps(std::string data, std::size_t step = 1000) {
  return [data = std::move(data), at = std::size_t{0}, step](std::span<std::byte> buffer) mutable -> Result<std::size_t> {
    const std::size_t count = std::min({buffer.size(), data.size() - at, step});
    std::memcpy(buffer.data(), data.data() + at, count);
    at += count;
    return count;
  };
}

std::string end_mark() { return std::string(kTarEnd, '\0'); }

std::string with_content(TarEntry entry, const std::string& content) {
  entry.size = content.size();
  return encode_tar_header(entry) + content + std::string(tar_padding(content.size()), '\0');
}

std::string content_of(TarReader& reader) {
  std::string content;
  for (;;) {
    const auto piece = reader.data();
    if (!piece || piece->empty()) return content;
    content.append(reinterpret_cast<const char*>(piece->data()), piece->size());
  }
}

std::string error_of(const std::string& stream) {
  TarReader reader(source_in_steps(stream));
  TarEntry entry;
  for (int i = 0; i < 10; ++i) {
    const auto more = reader.next(entry);
    if (!more) return more.error().message();
    if (!*more) return "";
  }
  return "it does not end";
}

TEST(TarReader, ReadsBackWhatWasEncoded) {
  TarEntry entry;
  entry.path = std::string(300, 'p') + "/\xff\xfe name";
  entry.mode = 04755;
  entry.uid = 3'000'000'000;
  entry.gid = 1000;
  entry.mtime = -5;
  entry.xattrs = {{"user.a", std::string("x\0\n=", 4)}};
  TarEntry link{.path = "link", .type = EntryType::kSymlink, .link = std::string(200, 'l'), .mode = 0777};
  TarEntry device{.path = "null", .type = EntryType::kCharDevice, .mode = 0666, .device_major = 1, .device_minor = 3};
  TarEntry directory{.path = "d", .type = EntryType::kDirectory, .mode = 01777};
  TarReader reader(source_in_steps(with_content(entry, std::string(1025, 'c')) + encode_tar_header(link) +
                                   encode_tar_header(device) + encode_tar_header(directory) + end_mark()));
  TarEntry read;
  ASSERT_TRUE(reader.next(read).value());
  EXPECT_EQ(read.path, entry.path);
  EXPECT_EQ(read.mode, 04755U);
  EXPECT_EQ(read.uid, 3'000'000'000U);
  EXPECT_EQ(read.mtime, -5);
  EXPECT_EQ(read.xattrs, entry.xattrs);
  EXPECT_EQ(content_of(reader), std::string(1025, 'c'));
  ASSERT_TRUE(reader.next(read).value());
  EXPECT_EQ(read.link, link.link);
  ASSERT_TRUE(reader.next(read).value());
  EXPECT_EQ(read.type, EntryType::kCharDevice);
  EXPECT_EQ(read.device_minor, 3U);
  ASSERT_TRUE(reader.next(read).value());
  EXPECT_EQ(read.path, "d");
  EXPECT_EQ(read.type, EntryType::kDirectory);
  EXPECT_FALSE(reader.next(read).value());
}

TEST(TarReader, SizesBeyondOctalSurvive) {
  TarEntry entry{.path = "big", .size = std::uint64_t{1} << 40U};
  TarReader reader(source_in_steps(encode_tar_header(entry)));
  TarEntry read;
  ASSERT_TRUE(reader.next(read).value());
  EXPECT_EQ(read.size, std::uint64_t{1} << 40U);
}

TEST(TarReader, AStreamThatEndsEarlyIsDamagedWhereverItEnds) {
  const std::string whole = with_content({.path = std::string(200, 'n')}, std::string(700, 'x')) + end_mark();
  for (std::size_t length = 0; length + kTarEnd < whole.size(); length += 100) {
    EXPECT_NE(error_of(whole.substr(0, length)), "") << length;
  }
  EXPECT_EQ(error_of(whole), "");
}

TEST(TarReader, HostileHeadersAreRefused) {
  EXPECT_NE(error_of(std::string(2048, 'x')), "");
  std::string flipped = encode_tar_header({.path = "a"});
  flipped[3] = 'x';
  EXPECT_NE(error_of(flipped + end_mark()), "");
  TarEntry huge{.path = "a", .xattrs = {{"user.x", std::string(2 * 1024 * 1024, 'x')}}};
  EXPECT_NE(error_of(encode_tar_header(huge) + end_mark()), "");
  TarEntry many{.path = "a"};
  for (int i = 0; i < 200; ++i) many.xattrs.emplace_back(fmt::format("user.{}", i), "x");
  EXPECT_NE(error_of(encode_tar_header(many) + end_mark()), "");
  TarEntry nul{.path = std::string(200, 'a') + std::string("\0b", 2)};
  EXPECT_NE(error_of(encode_tar_header(nul) + end_mark()), "");
  EXPECT_NE(error_of(end_mark() + std::string(4 * 1024 * 1024, 'x')), "");
}

}  // namespace
}  // namespace boxlite::files

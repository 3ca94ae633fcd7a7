#include "image/file_arena.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <vector>

#include "base/file.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

std::size_t resident_file_bytes() {
  std::size_t size = 0, resident = 0, shared = 0;
  std::ifstream("/proc/self/statm") >> size >> resident >> shared;
  return shared * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

class FileArenaTest : public ::testing::Test {
 protected:
  TempDir dir_ = *TempDir::create("/var/tmp", "boxlite-file-arena-test-");
  std::string path_ = dir_.path() + "/arena";
};

TEST_F(FileArenaTest, TheFileHasNoName) {
  const auto arena = FileArena::create(path_, "an image");
  ASSERT_TRUE(arena);
  EXPECT_NE(::access(path_.c_str(), F_OK), 0);
}

TEST_F(FileArenaTest, TextsAndObjectsKeepTheirPlaceAndContent) {
  const auto arena = *FileArena::create(path_, "an image");
  const std::string_view text = *arena->keep("a name");
  const std::uint64_t* number = *arena->make<std::uint64_t>(7U);
  ASSERT_TRUE(arena->reserve(10 * kMiB));
  EXPECT_EQ(text, "a name");
  EXPECT_EQ(*number, 7U);
  EXPECT_EQ(*arena->keep(""), "");
}

TEST_F(FileArenaTest, OnlyAPartStaysInMemoryAndNothingIsLost) {
  const std::size_t program = resident_file_bytes();
  constexpr std::size_t kSlack = 2 * kMiB;  // what is visited between two looks
  const std::size_t bound = program + 8 * kMiB;
  const auto arena = *FileArena::create(path_, "an image", {.total = 256 * kMiB, .resident = bound});
  std::vector<std::string_view> texts;
  std::size_t peak = 0;
  for (int i = 0; i < 2000; ++i) {
    texts.push_back(*arena->keep(std::string(64 * 1024, static_cast<char>('a' + i % 26))));
    arena->visit();
    peak = std::max(peak, resident_file_bytes());
  }
  EXPECT_LT(peak, program + bound + kSlack);
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(texts.at(static_cast<std::size_t>(i)), std::string(64 * 1024, static_cast<char>('a' + i % 26)));
    arena->visit();
    ASSERT_LT(resident_file_bytes(), program + bound + kSlack);
  }
}

TEST_F(FileArenaTest, MoreThanTheLimitIsRefusedByTheImagesName) {
  const auto arena = *FileArena::create(path_, "image demo", {.total = 2 * kMiB, .resident = 64 * kMiB});
  EXPECT_TRUE(arena->keep(std::string(kMiB, 'a')));
  const auto refused = arena->keep(std::string(kMiB + 1, 'b'));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kResourceExhausted);
  EXPECT_TRUE(refused.error().message().starts_with("image demo: "));
  EXPECT_TRUE(arena->keep("what is small still fits"));
}

}  // namespace
}  // namespace boxlite::image

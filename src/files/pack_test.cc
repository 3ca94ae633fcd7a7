#include "files/pack.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/file.h"
#include "base/sys.h"
#include "files/tar_reader.h"

namespace boxlite::files {
namespace {

namespace fs = std::filesystem;

struct Packed {
  std::vector<std::string> order;
  std::map<std::string, TarEntry> entries;
  std::map<std::string, std::string> contents;
};

Packed packed(const std::string& path, const PackOptions& options = {}) {
  std::string stream;
  const auto done = pack(path, options, [&](std::span<const std::byte> data) -> Result<void> {
    stream.append(reinterpret_cast<const char*>(data.data()), data.size());
    return {};
  });
  EXPECT_TRUE(done) << done.error().message();
  TarReader reader([&, at = std::size_t{0}](std::span<std::byte> buffer) mutable -> Result<std::size_t> {
    const std::size_t count = std::min(buffer.size(), stream.size() - at);
    std::memcpy(buffer.data(), stream.data() + at, count);
    at += count;
    return count;
  });
  Packed result;
  TarEntry entry;
  while (reader.next(entry).value()) {
    result.order.push_back(entry.path);
    result.entries[entry.path] = entry;
    for (auto piece = reader.data(); !piece->empty(); piece = reader.data()) {
      result.contents[entry.path].append(reinterpret_cast<const char*>(piece->data()), piece->size());
    }
  }
  return result;
}

class Pack : public ::testing::Test {
 protected:
  Pack() : temporary_(TempDir::create(fs::temp_directory_path(), "pack-test-").value()), tree_(temporary_.path() + "/tree") {
    fs::create_directories(tree_ + "/sub/deep");
    std::ofstream(tree_ + "/sub/f") << std::string(200'000, 'f');
    std::ofstream(tree_ + "/empty");
    fs::create_symlink("/etc/passwd", tree_ + "/link");
    fs::create_symlink("sub", tree_ + "/to-sub");
    fs::create_hard_link(tree_ + "/sub/f", tree_ + "/sub/deep/g");
    ::mkfifo((tree_ + "/fifo").c_str(), 0600);
  }
  TempDir temporary_;
  std::string tree_;
};

TEST_F(Pack, ATreeIsPackedUnderItsOwnNameAndNoLinkIsFollowed) {
  const Packed tree = packed(tree_);
  EXPECT_EQ(tree.order.front(), "tree");
  EXPECT_EQ(tree.entries.size(), 9U);
  EXPECT_EQ(tree.entries.at("tree/link").link, "/etc/passwd");
  EXPECT_EQ(tree.entries.at("tree/to-sub").type, EntryType::kSymlink);
  EXPECT_EQ(tree.entries.at("tree/fifo").type, EntryType::kFifo);
  const bool first = tree.entries.at("tree/sub/f").type == EntryType::kFile;
  EXPECT_EQ(tree.entries.at(first ? "tree/sub/deep/g" : "tree/sub/f").type, EntryType::kHardLink);
  EXPECT_EQ(tree.contents.at(first ? "tree/sub/f" : "tree/sub/deep/g"), std::string(200'000, 'f'));
}

TEST_F(Pack, ContentsAloneHaveADotForTheirRoot) {
  EXPECT_EQ(packed(tree_ + "/.").order.front(), ".");
  EXPECT_TRUE(packed(tree_ + "/sub/.").entries.contains("./deep"));
}

TEST_F(Pack, ALinkThatIsNamedIsFollowedWhenAskedOrWrittenAsADirectory) {
  EXPECT_EQ(packed(tree_ + "/to-sub").entries.at("to-sub").type, EntryType::kSymlink);
  EXPECT_EQ(packed(tree_ + "/to-sub", {.follow_link = true}).entries.at("to-sub").type, EntryType::kDirectory);
  EXPECT_EQ(packed(tree_ + "/to-sub/").entries.at("to-sub").type, EntryType::kDirectory);
}

TEST_F(Pack, WhatTheKernelMakesUpIsReadWhole) {
  const Packed file = packed("/proc/self/status");
  EXPECT_NE(file.contents.at("status").find("VmRSS"), std::string::npos);
  // Its size is told as 4096.
  EXPECT_FALSE(packed("/sys/kernel/mm/transparent_hugepage/enabled").contents.at("enabled").empty());
}

TEST_F(Pack, ContentsThatGoToADescriptorWithoutACopyAreTheSame) {
  std::string stream;
  ASSERT_TRUE(pack(tree_, {}, [&](std::span<const std::byte> data) -> Result<void> {
    stream.append(reinterpret_cast<const char*>(data.data()), data.size());
    return {};
  }));
  const std::string path = temporary_.path() + "/stream";
  const UniqueFd file = *sys::open(path, O_WRONLY | O_CREAT, 0600);
  ASSERT_TRUE(
      pack(tree_, {.sink_fd = file.get()}, [&](std::span<const std::byte> data) { return sys::write_all(file.get(), data); }));
  EXPECT_EQ(*read_file(path, 10'000'000), stream);
}

TEST_F(Pack, WhatIsNotThereIsNamed) {
  const auto done = pack(tree_ + "/none", {}, [](std::span<const std::byte>) -> Result<void> { return {}; });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::kNotFound);
  EXPECT_NE(done.error().message().find("/none"), std::string::npos);
}

TEST_F(Pack, AnErrorOfTheSinkEndsIt) {
  const auto done = pack(tree_, {}, [](std::span<const std::byte>) -> Result<void> { return fail(ErrorCode::kIo, "full"); });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message(), "full");
}

}  // namespace
}  // namespace boxlite::files

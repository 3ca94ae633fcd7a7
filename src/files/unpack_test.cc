#include "files/unpack.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "base/file.h"
#include "base/sys.h"
#include "files/pack.h"

namespace boxlite::files {
namespace {

namespace fs = std::filesystem;

Source source_of(std::string data) {
  return [data = std::move(data), at = std::size_t{0}](std::span<std::byte> buffer) mutable -> Result<std::size_t> {
    const std::size_t count = std::min(buffer.size(), data.size() - at);
    std::memcpy(buffer.data(), data.data() + at, count);
    at += count;
    return count;
  };
}

std::string file(const std::string& path, const std::string& content, std::uint32_t mode = 0644) {
  TarEntry entry{.path = path, .mode = mode, .uid = 12345, .gid = 12345, .size = content.size()};
  return encode_tar_header(entry) + content + std::string(tar_padding(content.size()), '\0');
}
std::string link(const std::string& path, const std::string& target, EntryType type = EntryType::kSymlink) {
  return encode_tar_header({.path = path, .type = type, .link = target, .mode = 0777});
}
std::string directory(const std::string& path, std::uint32_t mode = 0755) {
  return encode_tar_header({.path = path, .type = EntryType::kDirectory, .mode = mode});
}
std::string end_of_tar() { return std::string(kTarEnd, '\0'); }

class Unpack : public ::testing::Test {
 protected:
  Unpack() : temporary_(TempDir::create(fs::temp_directory_path(), "unpack-test-").value()) {
    fs::create_directory(into_ = temporary_.path() + "/into");
    fs::create_directory(outside_ = temporary_.path() + "/outside");
    write(outside_ + "/secret", "secret");
  }
  static void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string read(const std::string& path) { return read_file(path, 1'000'000).value_or("<none>"); }
  static Result<void> to(const std::string& stream, const std::string& destination, const std::string& root) {
    TarReader reader(source_of(stream));
    return unpack_to(reader, destination, root, {});
  }
  Result<void> members(const std::string& stream) const {
    TarReader reader(source_of(stream + end_of_tar()));
    return unpack_into(reader, into_, {});
  }
  void expect_outside_untouched() const {
    EXPECT_EQ(read(outside_ + "/secret"), "secret");
    EXPECT_EQ(std::distance(fs::directory_iterator(outside_), {}), 1);
  }

  TempDir temporary_;
  std::string into_;
  std::string outside_;
};

TEST_F(Unpack, AFileLandsByDockersRules) {
  const std::string stream = file("f", "new") + end_of_tar();
  ASSERT_TRUE(to(stream, into_, "f"));
  EXPECT_EQ(read(into_ + "/f"), "new");
  ASSERT_TRUE(to(stream, into_ + "/", "f"));
  ASSERT_TRUE(to(stream, into_ + "/g", "f"));
  EXPECT_EQ(read(into_ + "/g"), "new");
  write(into_ + "/g", "old and longer");
  ASSERT_TRUE(to(stream, into_ + "/g", "f"));
  EXPECT_EQ(read(into_ + "/g"), "new");
  EXPECT_FALSE(to(stream, into_ + "/none/", "f"));
  EXPECT_FALSE(to(stream, into_ + "/none/f", "f"));
  EXPECT_FALSE(to(stream, into_ + "/g/", "f"));
  EXPECT_FALSE(fs::exists(into_ + "/none"));
}

TEST_F(Unpack, ADirectoryLandsByDockersRules) {
  const std::string stream = directory("d") + file("d/f", "x") + end_of_tar();
  ASSERT_TRUE(to(stream, into_ + "/new", "d"));
  EXPECT_EQ(read(into_ + "/new/f"), "x");
  ASSERT_TRUE(to(stream, into_, "d"));
  EXPECT_EQ(read(into_ + "/d/f"), "x");
  const std::string contents = directory(".") + file("./f", "y") + end_of_tar();
  ASSERT_TRUE(to(contents, into_, "."));
  EXPECT_EQ(read(into_ + "/f"), "y");
  ASSERT_TRUE(to(contents, into_ + "/newer/", "."));
  EXPECT_EQ(read(into_ + "/newer/f"), "y");
  EXPECT_FALSE(to(stream, into_ + "/f", "d"));
  EXPECT_EQ(read(into_ + "/f"), "y");
}

TEST_F(Unpack, TheFirstEntryMustBeWhatWasAskedFor) {
  EXPECT_FALSE(to(file("authorized_keys", "x") + end_of_tar(), into_, "f"));
  EXPECT_FALSE(to(directory("d") + file("e", "x") + end_of_tar(), into_, "d"));
  EXPECT_TRUE(fs::exists(into_ + "/d"));
  EXPECT_FALSE(fs::exists(into_ + "/e"));
}

TEST_F(Unpack, NoPathLeadsOutside) {
  for (const std::string path : {"../outside/x", "a/../../outside/x", "/x", "..", "a/.."}) {
    EXPECT_FALSE(members(file(path, "x"))) << path;
    EXPECT_FALSE(members(link(path, "x"))) << path;
    EXPECT_FALSE(members(directory(path))) << path;
  }
  expect_outside_untouched();
}

TEST_F(Unpack, NoSymbolicLinkIsWrittenThrough) {
  EXPECT_FALSE(members(link("l", outside_) + file("l/x", "x")));
  EXPECT_FALSE(members(link("m", "../outside") + directory("m") + file("m/x", "x")));
  EXPECT_FALSE(members(directory("n") + link("n/o", "..") + file("n/o/p/x", "x")));
  ASSERT_TRUE(members(link("s", outside_ + "/secret") + file("s", "new")));  // replaced, not followed
  EXPECT_EQ(read(into_ + "/s"), "new");
  expect_outside_untouched();
}

TEST_F(Unpack, NoHardLinkLeadsOutside) {
  EXPECT_FALSE(members(link("h", "../outside/secret", EntryType::kHardLink)));
  EXPECT_FALSE(members(link("h", outside_ + "/secret", EntryType::kHardLink)));
  EXPECT_FALSE(members(link("l", outside_) + link("h", "l/secret", EntryType::kHardLink)));
  EXPECT_FALSE(to(directory("d") + link("d/h", "other", EntryType::kHardLink) + end_of_tar(), into_, "d"));
  EXPECT_FALSE(fs::exists(into_ + "/h"));
  expect_outside_untouched();
}

TEST_F(Unpack, HardLinksOfTheStreamAreOneFileAlsoTheSecondTime) {
  const std::string stream = file("a", "x") + link("b", "a", EntryType::kHardLink);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(members(stream));
    ASSERT_TRUE(members(link("b", "a", EntryType::kHardLink)));
  }
  EXPECT_EQ(fs::hard_link_count(into_ + "/a"), 2U);
  EXPECT_EQ(std::distance(fs::directory_iterator(into_), {}), 2);
}

TEST_F(Unpack, ADestinationThatIsALinkToAFileIsRefused) {
  fs::create_symlink(outside_ + "/secret", into_ + "/l");
  EXPECT_FALSE(to(file("f", "x") + end_of_tar(), into_ + "/l", "f"));
  fs::create_symlink(outside_ + "/none", into_ + "/dangling");
  EXPECT_FALSE(to(file("f", "x") + end_of_tar(), into_ + "/dangling", "f"));
  expect_outside_untouched();
}

TEST_F(Unpack, SetUidBitsAndOwnersAreOnlyKeptWhenAsked) {
  ASSERT_TRUE(members(file("f", "x", 06755) + directory("d", 02777)));
  struct stat st = {};
  ASSERT_EQ(::stat((into_ + "/f").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0755U);
  EXPECT_EQ(st.st_uid, ::geteuid());
  ASSERT_EQ(::stat((into_ + "/d").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0777U);
  if (::geteuid() != 0) return;
  TarReader reader(source_of(file("g", "x", 06755) + end_of_tar()));
  ASSERT_TRUE(unpack_into(reader, into_, {.archive = true}));
  ASSERT_EQ(::stat((into_ + "/g").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 06755U);
  EXPECT_EQ(st.st_uid, 12345U);
}

TEST_F(Unpack, DeviceNodesAreLeftOutAndToldOf) {
  const std::string node =
      encode_tar_header({.path = "null", .type = EntryType::kCharDevice, .device_major = 1, .device_minor = 3});
  const auto done = members(node + file("f", "x"));
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message().find("the device node null in "), std::string::npos) << done.error().message();
  EXPECT_EQ(read(into_ + "/f"), "x");
  EXPECT_FALSE(fs::exists(into_ + "/null"));
}

TEST_F(Unpack, AnIncompleteFileIsNotThereAndTheOldOneIs) {
  write(into_ + "/f", "old");
  const std::string whole = file("f", std::string(100'000, 'x'));
  TarReader reader(source_of(whole.substr(0, 50'000)));
  EXPECT_FALSE(unpack_into(reader, into_, {}));
  EXPECT_EQ(read(into_ + "/f"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(into_), {}), 1);
}

// What goes from a pipe into a file does so within the kernel, but for what was read along with the header.
class UnpackPipe : public Unpack {
 protected:
  Result<void> members_of_pipe(std::string stream) const {
    sys::Pipe pipe = sys::pipe().value();
    const int end = pipe.read_end.get();
    std::thread writer([stream = std::move(stream), to = std::move(pipe.write_end)] { (void)sys::write_all(to.get(), stream); });
    TarReader reader([end](std::span<std::byte> buffer) { return sys::read(end, buffer); }, end);
    auto done = unpack_into(reader, into_, {});
    pipe.read_end.reset();  // ends a writer whose rest nobody wants
    writer.join();
    return done;
  }
};

TEST_F(UnpackPipe, FilesOfAllSizesArriveWhole) {
  std::string stream;
  std::map<std::string, std::string> files;
  for (const std::size_t size : {0UL, 1UL, 511UL, 65'535UL, 65'536UL, 300'001UL, 900'000UL, 3UL}) {
    std::string content(size, '\0');
    for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 31 + i / 253);
    stream += file(std::to_string(size), content);
    files[std::to_string(size)] = content;
  }
  ASSERT_TRUE(members_of_pipe(stream + end_of_tar()));
  for (const auto& [name, content] : files) EXPECT_EQ(read(into_ + "/" + name), content) << name;
}

TEST_F(UnpackPipe, AnIncompleteFileIsNotThereAndTheOldOneIs) {
  ::signal(SIGPIPE, SIG_IGN);
  write(into_ + "/f", "old");
  const auto done = members_of_pipe(file("f", std::string(900'000, 'x')).substr(0, 500'000));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::kCorrupt) << done.error().message();
  EXPECT_EQ(read(into_ + "/f"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(into_), {}), 1);
}

TEST_F(UnpackPipe, AFileThatCannotBeWrittenIsToldOf) {
  ::signal(SIGPIPE, SIG_IGN);
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {200'000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto done = members_of_pipe(file("f", std::string(900'000, 'x')) + end_of_tar());
  ::setrlimit(RLIMIT_FSIZE, &before);
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message().find("write: File too large"), std::string::npos) << done.error().message();
  EXPECT_EQ(std::distance(fs::directory_iterator(into_), {}), 0);
}

TEST_F(Unpack, DirectoriesAndOtherThingsDoNotReplaceEachOther) {
  ASSERT_TRUE(members(directory("d") + file("f", "x")));
  EXPECT_FALSE(members(file("d", "x")));
  EXPECT_FALSE(members(directory("f")));
  EXPECT_EQ(read(into_ + "/f"), "x");
}

TEST_F(Unpack, AnExistingDirectoryKeepsItsMode) {
  ::chmod(into_.c_str(), 0700);
  ASSERT_TRUE(to(directory(".", 0777) + file("./f", "x") + end_of_tar(), into_, "."));
  struct stat st = {};
  ASSERT_EQ(::stat(into_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0700U);
}

TEST_F(Unpack, AReadOnlyDirectoryIsFilledFirst) {
  ASSERT_TRUE(members(directory("d", 0555) + file("d/f", "x") + directory("d/e", 0500) + file("d/e/g", "y") + file("h", "z")));
  struct stat st = {};
  ASSERT_EQ(::stat((into_ + "/d").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0555U);
  EXPECT_EQ(read(into_ + "/d/e/g"), "y");
  ::chmod((into_ + "/d").c_str(), 0755);
  ::chmod((into_ + "/d/e").c_str(), 0755);
}

}  // namespace
}  // namespace boxlite::files

#include "image/base_disk.h"

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"
#include "image/ext4_image.h"
#include "image/sha256.h"
#include "image/test_layer.h"

namespace boxlite::image {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;

class BaseDiskTest : public ::testing::Test {
 protected:
  static TestFile make(const std::string& path, FileType type, const std::string& text = "") {
    TestFile file;
    file.entry.path = path;
    file.entry.type = type;
    file.entry.mode = type == FileType::kDirectory ? 0755 : 0644;
    if (type == FileType::kRegular) {
      file.content = text;
    } else {
      file.entry.link = text;
    }
    return file;
  }
  static TestFile file(const std::string& path, const std::string& content) { return make(path, FileType::kRegular, content); }

  void add_layer(const std::vector<TestFile>& files) {
    const std::string bytes = make_layer(files, Compression::kGzip);
    const std::string path = fmt::format("{}/layer{}", dir_.path(), spec_.layers.size());
    ASSERT_TRUE(write_file_volatile(path, bytes, 0600));
    spec_.layers.push_back({.path = path, .what = "layer " + path, .diff_id = sha256(make_layer(files, Compression::kNone))});
  }

  Result<void> build() {
    (void)::unlink(disk_.c_str());
    return build_base_disk(spec_, disk_, monitor_);
  }

  /// Exit code, standard output and standard error together.
  static std::pair<int, std::string> run(const std::string& program, const std::vector<std::string>& arguments) {
    std::vector<std::string> argv = {program};
    for (const std::string& argument : arguments) argv.push_back(argument);
    sys::Pipe pipe = *sys::pipe();
    const int out = pipe.write_end.get();
    auto child = ChildProcess::spawn({.program = *find_program(program), .argv = argv, .stdout_fd = out, .stderr_fd = out});
    pipe.write_end.reset();
    std::string output(32 * kMiB, '\0');
    output.resize(*sys::read_full(pipe.read_end.get(), std::as_writable_bytes(std::span(output))));
    return {child->wait()->code, output};
  }

  std::string debugfs(const std::string& command) {
    std::string text = run("debugfs", {"-R", command, disk_}).second;
    return text.substr(text.find('\n') + 1);  // its version
  }
  std::string content(const std::string& path) { return debugfs("cat " + path); }

  void expect_sound() {
    const auto [code, text] = run("e2fsck", {"-fn", disk_});
    EXPECT_EQ(code, 0) << text;
  }

  TempDir dir_ = *TempDir::create("/tmp", "boxlite-base-disk-test-");
  std::string disk_ = dir_.path() + "/disk.ext4";
  BaseDiskSpec spec_{
      .image = "image i", .image_id = sha256("id"), .layers = {}, .disk_bytes = 256 * kMiB, .max_unpacked_bytes = 1024 * kMiB};
  JobMonitor monitor_{[](const JobProgress&) { return Result<void>(); }, [] { return false; }};
};

TEST_F(BaseDiskTest, AnImageWithoutLayersIsASoundEmptyDisk) {
  ASSERT_TRUE(build());
  expect_sound();
  EXPECT_NE(debugfs("ls /").find("lost+found"), std::string::npos);
}

TEST_F(BaseDiskTest, DisksOfManySizesAreSound) {
  add_layer({file("a", "x")});
  for (const std::uint64_t size : {kMinDiskBytes, 100 * kMiB, 129 * kMiB + 5000, 1024 * kMiB, 10240 * kMiB, 102400 * kMiB}) {
    spec_.disk_bytes = size;
    ASSERT_TRUE(build()) << size;
    expect_sound();
    EXPECT_LT(sys::stat(disk_)->st_blocks * 512, static_cast<blkcnt_t>(40 * kMiB)) << "not sparse at " << size;
  }
  spec_.disk_bytes = kMinDiskBytes - 1;
  EXPECT_EQ(build().error().code(), ErrorCode::kInvalidArgument);
}

TEST_F(BaseDiskTest, EveryTypeOfFileArrivesWithItsAttributes) {
  TestFile tool = file("bin/tool", "#!");
  tool.entry.mode = 04751;
  tool.entry.uid = 70000;
  tool.entry.gid = 70001;
  tool.entry.mtime_seconds = 1700000000;
  tool.entry.mtime_nanoseconds = 500;
  tool.entry.xattrs = {{"security.capability", std::string(20, '\x01')}, {"user.note", "hello"}, {"odd.class", "dropped"}};
  TestFile null = make("dev/null", FileType::kCharDevice);
  null.entry.device_major = 1;
  null.entry.device_minor = 3;
  TestFile large = make("dev/large", FileType::kBlockDevice);
  large.entry.device_major = 259;
  large.entry.device_minor = 70000;
  add_layer({tool, null, large, make("pipe", FileType::kFifo), make("short", FileType::kSymlink, "bin/tool"),
             make("long", FileType::kSymlink, std::string(500, 'l')), make("same", FileType::kHardLink, "bin/tool"),
             file("empty", "")});
  ASSERT_TRUE(build());
  expect_sound();
  const std::string stat = debugfs("stat bin/tool");
  EXPECT_NE(stat.find("Mode:  04751"), std::string::npos) << stat;
  EXPECT_NE(stat.find("User: 70000   Group: 70001"), std::string::npos) << stat;
  EXPECT_NE(stat.find("Links: 2"), std::string::npos) << stat;
  EXPECT_NE(stat.find("mtime: 0x6553f100:000007d0"), std::string::npos) << stat;
  EXPECT_NE(stat.find("user.note (5) = \"hello\""), std::string::npos) << stat;
  EXPECT_NE(stat.find("security.capability (20)"), std::string::npos) << stat;
  EXPECT_EQ(stat.find("odd.class"), std::string::npos) << stat;
  EXPECT_NE(debugfs("stat dev/null").find("Device major/minor number: 01:03"), std::string::npos);
  EXPECT_NE(debugfs("stat dev/large").find("Device major/minor number: 259:70000"), std::string::npos);
  EXPECT_NE(debugfs("stat pipe").find("Type: FIFO"), std::string::npos);
  EXPECT_NE(debugfs("stat short").find("Fast link dest: \"bin/tool\""), std::string::npos);
  EXPECT_EQ(content("long"), std::string(500, 'l'));
  EXPECT_EQ(content("same"), "#!");
}

TEST_F(BaseDiskTest, ContentsOfSurvivingFilesComeFromTheirLayers) {
  add_layer({file("a", "old"), file("b", "kept"), file("gone", "x"), file("big", std::string(3 * kMiB, 'b'))});
  add_layer({file("a", "new"), file(".wh.gone", ""), make("linked", FileType::kHardLink, "b")});
  ASSERT_TRUE(build());
  expect_sound();
  EXPECT_EQ(content("a"), "new");
  EXPECT_EQ(content("linked"), "kept");
  EXPECT_EQ(content("big"), std::string(3 * kMiB, 'b'));
  EXPECT_NE(content("gone").find("File not found"), std::string::npos);
  EXPECT_EQ(*ext4_content_bytes(disk_), 3 + 4 + 3 * kMiB);
}

TEST_F(BaseDiskTest, LongZerosBecomeHolesAndReadAsZeros) {
  std::string sparse(20 * kMiB, '\0');
  sparse.replace(7 * kMiB, 5, "hello");
  sparse += "end";
  // Alternating: more extents than fit into the inode.
  std::string striped(16 * kMiB, '\0');
  for (std::size_t at = 0; at < striped.size(); at += 128 * 1024) striped.replace(at, 4, "data");
  add_layer({file("sparse", sparse), file("striped", striped)});
  ASSERT_TRUE(build());
  expect_sound();
  // Not EXPECT_EQ, which would print megabytes.
  EXPECT_TRUE(content("striped") == striped);
  EXPECT_TRUE(content("sparse") == sparse);
  EXPECT_LT(sys::stat(disk_)->st_blocks * 512, static_cast<blkcnt_t>(16 * kMiB));
}

TEST_F(BaseDiskTest, LargeDirectoriesAreSoundAndComplete) {
  std::vector<TestFile> files;
  for (int i = 0; i < 20000; ++i)
    files.push_back(file(fmt::format("d/{:05}{}", i, std::string(static_cast<std::size_t>(i % 200), 'n')), ""));
  for (int i = 0; i < 3000; ++i) files.push_back(make(fmt::format("e/{}", i), FileType::kDirectory));
  add_layer(files);
  ASSERT_TRUE(build());
  expect_sound();
  EXPECT_NE(debugfs("stat d/" + fmt::format("19999{}", std::string(199, 'n'))).find("Type: regular"), std::string::npos);
  EXPECT_NE(debugfs("stat e").find("Links: 3002"), std::string::npos);
}

TEST_F(BaseDiskTest, TheSameImageGivesTheSameBytes) {
  add_layer({file("a", "x"), make("d", FileType::kDirectory)});
  ASSERT_TRUE(build());
  const std::string first = dir_.path() + "/first";
  ASSERT_TRUE(sys::rename(disk_, first));
  ASSERT_TRUE(build());
  EXPECT_EQ(run("cmp", {first, disk_}).first, 0);
}

TEST_F(BaseDiskTest, AWrongDiffIdStopsBeforeAnythingIsWritten) {
  add_layer({file("a", "x")});
  spec_.layers.front().diff_id = sha256("other");
  const auto result = build();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt);
  EXPECT_NE(::access(disk_.c_str(), F_OK), 0);
}

TEST_F(BaseDiskTest, AnImageThatDoesNotFitGetsALargerDisk) {
  std::string noise;
  while (noise.size() < 70 * kMiB) noise.append(64 * 1024, static_cast<char>('a' + noise.size() / 65536 % 26));
  add_layer({file("a", noise)});
  spec_.disk_bytes = kMinDiskBytes;
  ASSERT_TRUE(build());
  expect_sound();
  EXPECT_EQ(sys::stat(disk_)->st_size, static_cast<off_t>(1024 * kMiB));
}

TEST_F(BaseDiskTest, MoreAttributesThanExt4HoldsAreRefused) {
  TestFile greedy = file("a", "x");
  greedy.entry.xattrs = {{"user.a", std::string(3000, 'a')}, {"user.b", std::string(3000, 'b')}};
  add_layer({greedy});
  const auto result = build();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kUnsupported) << result.error().message();
}

TEST_F(BaseDiskTest, ManyMoreFilesThanADiskOfThatSizeHasInodesByDefault) {
  std::vector<TestFile> files;
  for (int i = 0; i < 9000; ++i) files.push_back(file(fmt::format("{}/{}", i % 50, i), ""));
  add_layer(files);
  spec_.disk_bytes = kMinDiskBytes;  // 4096 inodes by default
  ASSERT_TRUE(build());
  expect_sound();
}

}  // namespace
}  // namespace boxlite::image

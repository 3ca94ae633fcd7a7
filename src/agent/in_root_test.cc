#include "agent/in_root.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

class InRootTest : public testing::Test {
 protected:
  void SetUp() override {
    outside_.emplace(*TempDir::create("/tmp", "in-root-"));
    root_path_ = outside_->path() + "/root";
    ASSERT_EQ(::mkdir(root_path_.c_str(), 0755), 0);
    root_ = *sys::open(root_path_, O_PATH | O_DIRECTORY);
  }
  void put(const std::string& path, std::string_view text) {
    ASSERT_TRUE(write_file_volatile(outside_->path() + "/" + path, text, 0644));
  }
  void link(const std::string& target, const std::string& path) {
    ASSERT_EQ(::symlink(target.c_str(), (root_path_ + "/" + path).c_str()), 0);
  }
  void directory(const std::string& path) { ASSERT_EQ(::mkdir((root_path_ + "/" + path).c_str(), 0755), 0); }
  bool exists(const std::string& path) { return ::access((outside_->path() + "/" + path).c_str(), F_OK) == 0; }

  std::optional<TempDir> outside_;
  std::string root_path_;
  UniqueFd root_;
};

TEST_F(InRootTest, ReadsAFileThroughAnAbsoluteLinkOfTheImage) {
  directory("etc");
  put("root/passwd", "inside");
  link("/passwd", "etc/passwd");
  EXPECT_EQ(*read_in_root(root_.get(), "/etc/passwd", 100), "inside");
}

TEST_F(InRootTest, ALinkThatClimbsOutStaysInside) {
  put("secret", "outside");
  link("../secret", "escape");
  EXPECT_EQ(*read_in_root(root_.get(), "escape", 100), std::nullopt);
}

TEST_F(InRootTest, RefusesAFifoADirectoryAndATooLargeFile) {
  ASSERT_EQ(::mkfifo((root_path_ + "/fifo").c_str(), 0644), 0);
  directory("dir");
  put("root/large", std::string(101, 'x'));
  put("root/fits", std::string(100, 'x'));
  EXPECT_EQ(read_in_root(root_.get(), "fifo", 100).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(read_in_root(root_.get(), "dir", 100).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(read_in_root(root_.get(), "large", 100).error().code(), ErrorCode::kCorrupt);
  EXPECT_TRUE(read_in_root(root_.get(), "fits", 100));
}

TEST_F(InRootTest, MakesAMissingDirectoryWithItsParents) {
  ASSERT_TRUE(ensure_in_root(root_.get(), "/sys/fs/cgroup", EntryKind::kDirectory));
  EXPECT_TRUE(exists("root/sys/fs/cgroup"));
}

TEST_F(InRootTest, MakesTheTargetOfADanglingLinkInside) {
  directory("etc");
  link("../../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf");
  ASSERT_TRUE(ensure_in_root(root_.get(), "/etc/resolv.conf", EntryKind::kFile));
  EXPECT_TRUE(exists("root/run/systemd/resolve/stub-resolv.conf"));
  EXPECT_FALSE(exists("run"));
}

TEST_F(InRootTest, FollowsALinkedParentToItsAbsoluteTargetInside) {
  directory("real");
  link("/real", "etc");
  ASSERT_TRUE(ensure_in_root(root_.get(), "/etc/hosts", EntryKind::kFile));
  EXPECT_TRUE(exists("root/real/hosts"));
}

TEST_F(InRootTest, RefusesAnEntryOfTheOtherKind) {
  directory("etc");
  directory("etc/hosts");
  put("root/proc", "a file");
  EXPECT_EQ(ensure_in_root(root_.get(), "/etc/hosts", EntryKind::kFile).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(ensure_in_root(root_.get(), "/proc", EntryKind::kDirectory).error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(ensure_in_root(root_.get(), "/proc/sys", EntryKind::kDirectory).error().code(), ErrorCode::kInvalidArgument);
}

TEST_F(InRootTest, ALinkLoopIsAnError) {
  link("b", "a");
  link("a", "b");
  EXPECT_EQ(ensure_in_root(root_.get(), "/a", EntryKind::kFile).error().code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace boxlite::agent

#include "agent/user.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class UserTest : public testing::Test {
 protected:
  void SetUp() override {
    root_dir_.emplace(*TempDir::create("/tmp", "user-"));
    ASSERT_EQ(::mkdir((root_dir_->path() + "/etc").c_str(), 0755), 0);
    put("passwd",
        "root:x:0:0:root:/root:/bin/sh\n"
        "# a comment\n"
        "\n"
        "broken line\n"
        "web:x:33:34:Web:/srv/web:/bin/sh\n"
        "1000:x:7:8::/seven:/bin/sh\n"
        "dev:x:1001:1001::/home/dev:/bin/sh");
    put("group",
        "root:x:0:\n"
        "staff:x:50:dev,web\n"
        "www:x:34:web\n"
        "docker:x:999:dev\n");
    root_ = *sys::open(root_dir_->path(), O_PATH | O_DIRECTORY);
  }
  void put(const std::string& name, std::string_view text) {
    ASSERT_TRUE(write_file_volatile(root_dir_->path() + "/etc/" + name, text, 0644));
  }
  Result<User> resolve(std::string_view spec) { return resolve_user(root_.get(), spec); }

  std::optional<TempDir> root_dir_;
  UniqueFd root_;
};

TEST_F(UserTest, NoUserIsRootWithItsHome) {
  const User user = *resolve("");
  EXPECT_EQ(user.uid, 0U);
  EXPECT_EQ(user.gid, 0U);
  EXPECT_EQ(user.home, "/root");
  EXPECT_THAT(user.groups, ElementsAre(0));
}

TEST_F(UserTest, ANameGetsItsPrimaryAndSupplementaryGroups) {
  const User user = *resolve("web");
  EXPECT_EQ(user.uid, 33U);
  EXPECT_EQ(user.gid, 34U);
  EXPECT_EQ(user.home, "/srv/web");
  EXPECT_THAT(user.groups, ElementsAre(34, 50));
}

TEST_F(UserTest, TheLastLineNeedsNoNewline) { EXPECT_EQ(resolve("dev")->home, "/home/dev"); }

TEST_F(UserTest, AKnownUidTakesPrimaryGroupAndHomeFromPasswd) {
  const User user = *resolve("1001");
  EXPECT_EQ(user.gid, 1001U);
  EXPECT_EQ(user.home, "/home/dev");
  EXPECT_THAT(user.groups, ElementsAre(1001, 50, 999));
}

TEST_F(UserTest, AnUnknownUidHasGroupZeroAndHomeSlash) {
  const User user = *resolve("4242");
  EXPECT_EQ(user.uid, 4242U);
  EXPECT_EQ(user.gid, 0U);
  EXPECT_EQ(user.home, "/");
}

TEST_F(UserTest, AUserWhoseNameIsANumberIsFoundByName) { EXPECT_EQ(resolve("1000")->uid, 7U); }

TEST_F(UserTest, AnExplicitGroupReplacesAllOthers) {
  EXPECT_EQ(resolve("web:docker")->gid, 999U);
  EXPECT_THAT(resolve("web:docker")->groups, ElementsAre(999));
  EXPECT_EQ(resolve("web:4711")->gid, 4711U);
  EXPECT_EQ(resolve("12:34")->uid, 12U);
  EXPECT_EQ(resolve(":docker")->uid, 0U);
  EXPECT_EQ(resolve("dev:")->gid, 1001U);
}

TEST_F(UserTest, UnknownNamesAreRefusedInDockersWords) {
  const auto user = resolve("nobody-here");
  ASSERT_FALSE(user);
  EXPECT_EQ(user.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(user.error().message(),
            "unable to find user nobody-here: no matching entries in the image's /etc/passwd; use a name from it, or a number");
  EXPECT_THAT(resolve("web:nogroup").error().message(), HasSubstr("unable to find group nogroup"));
}

TEST_F(UserTest, NumbersOutOfRangeAreRefused) {
  EXPECT_THAT(resolve("4294967295").error().message(), HasSubstr("must be in range"));
  EXPECT_THAT(resolve("99999999999999999999999").error().message(), HasSubstr("must be in range"));
  EXPECT_THAT(resolve("1:2147483648").error().message(), HasSubstr("must be in range"));
  EXPECT_FALSE(resolve("-1"));
}

TEST_F(UserTest, AnImageWithoutThoseFilesKnowsNumbersOnly) {
  ASSERT_EQ(::unlink((root_dir_->path() + "/etc/passwd").c_str()), 0);
  ASSERT_EQ(::unlink((root_dir_->path() + "/etc/group").c_str()), 0);
  EXPECT_EQ(resolve("")->home, "/");
  EXPECT_EQ(resolve("5:6")->gid, 6U);
  EXPECT_FALSE(resolve("web"));
}

TEST_F(UserTest, AFifoInTheFilesPlaceIsAnErrorAndDoesNotHang) {
  const std::string path = root_dir_->path() + "/etc/passwd";
  ASSERT_EQ(::unlink(path.c_str()), 0);
  ASSERT_EQ(::mkfifo(path.c_str(), 0644), 0);
  EXPECT_FALSE(resolve("web"));
}

}  // namespace
}  // namespace boxlite::agent

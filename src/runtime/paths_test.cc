#include "runtime/paths.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/sys.h"

namespace boxlite {
namespace {

class PathsTest : public testing::Test {
 protected:
  PathsTest() : directory_(*TempDir::create(std::filesystem::temp_directory_path(), "boxlite-paths-")) {}
  std::string home() const { return directory_.path() + "/home"; }

 private:
  TempDir directory_;
};

TEST_F(PathsTest, AHomeIsMadeForItsOwnerAlone) {
  ASSERT_TRUE(open_home(home()));
  EXPECT_EQ(sys::stat(home())->st_mode & 07777U, 0700U);
  EXPECT_TRUE(std::filesystem::is_directory(home() + "/locks"));
  EXPECT_TRUE(open_home(home())) << "a second time";
}

TEST_F(PathsTest, AHomeThatOthersCanEnterIsRefusedWithTheCommandThatHelps) {
  ASSERT_TRUE(open_home(home()));
  ASSERT_EQ(::chmod(home().c_str(), 0750), 0);
  const auto opened = open_home(home());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), ErrorCode::kPermissionDenied);
  EXPECT_NE(opened.error().message().find("chmod 700 " + home()), std::string::npos);
}

TEST_F(PathsTest, AHomeOfAnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a directory away";
  ASSERT_TRUE(open_home(home()));
  ASSERT_EQ(::chown(home().c_str(), 12345, 12345), 0);
  const auto opened = open_home(home());
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message().find("belongs to user 12345"), std::string::npos);
}

TEST_F(PathsTest, AFileInTheHomesPlaceIsNamed) {
  std::ofstream(home()) << "x";
  const auto opened = open_home(home());
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message().find(home()), std::string::npos);
}

TEST_F(PathsTest, AHomeThatCannotBeMadeSaysWhyAndWhatElseToDo) {
  const auto opened = open_home(home() + "/missing/deep");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message().find("No such file or directory"), std::string::npos);
  EXPECT_NE(opened.error().message().find("--home DIR"), std::string::npos);
}

TEST(FileSystemTest, NetworkFileSystemsAndUnknownFuseAreUnfit) {
  EXPECT_EQ(unfit_file_system(0x6969), "NFS");
  EXPECT_EQ(unfit_file_system(static_cast<long>(0xff534d42)), "CIFS");
  EXPECT_EQ(unfit_file_system(static_cast<int>(0xff534d42)), "CIFS") << "as a kernel that extends the sign has it";
  EXPECT_EQ(unfit_file_system(0x01021997), "9p");
  EXPECT_EQ(unfit_file_system(0x65735546), "FUSE");
  EXPECT_EQ(unfit_file_system(0xef53), "") << "ext4";
  EXPECT_EQ(unfit_file_system(0x58465342), "") << "xfs";
  EXPECT_EQ(unfit_file_system(0x9123683e), "") << "btrfs";
  EXPECT_EQ(unfit_file_system(0x01021994), "") << "tmpfs";
  EXPECT_EQ(unfit_file_system(0x794c7630), "") << "overlayfs";
}

TEST(ChooseHomeTest, AnExplicitHomeIsMadeAbsoluteAndClean) {
  EXPECT_EQ(*choose_home("/a/./b//c/../d/"), "/a/b/d");
  EXPECT_EQ(*choose_home("here"), std::filesystem::current_path().string() + "/here");
}

TEST(ChooseHomeTest, ALineBreakInThePathIsRefused) { EXPECT_FALSE(choose_home("/a\nb")); }

TEST(BoxIdTest, NothingButTwelveLowerCaseHexDigitsIsAnId) {
  EXPECT_TRUE(is_box_id("0123456789ab"));
  for (const char* text : {"", "0123456789a", "0123456789abc", "0123456789AB", "../456789ab", "0123456789a/"}) {
    EXPECT_FALSE(is_box_id(text)) << text;
  }
}

}  // namespace
}  // namespace boxlite

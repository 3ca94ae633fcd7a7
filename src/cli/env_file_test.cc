#include "cli/env_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/file.h"

namespace boxlite::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class EnvFileTest : public ::testing::Test {
 protected:
  std::string file(std::string_view text, const std::string& name = "env") {
    const std::string path = directory_.path() + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  const TempDir directory_ = *TempDir::create(::testing::TempDir(), "env-file-");  // tests run side by side
};

TEST_F(EnvFileTest, LinesAreTakenAsTheyAre) {
  const auto read = read_environment({file("A=1\nB=\"two words\" # no comment\n  C=a=b \nD=\nE=$HOME")}, {});
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_THAT(*read, ElementsAre("A=1", "B=\"two words\" # no comment", "C=a=b ", "D=", "E=$HOME"));
}

TEST_F(EnvFileTest, CommentsBlankLinesByteOrderMarkAndCarriageReturnsDoNotCount) {
  const auto read = read_environment({file("\xef\xbb\xbf# first\r\n\r\n  \t\n  # indented\nA=1\r\n#B=2\n")}, {});
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_THAT(*read, ElementsAre("A=1"));
}

TEST_F(EnvFileTest, ANameAloneIsTakenFromHereOrLeftOut) {
  ::setenv("BOXLITE_TEST_HERE", "from here", 1);
  ::unsetenv("BOXLITE_TEST_NOWHERE");
  const auto read = read_environment({file("BOXLITE_TEST_HERE\nBOXLITE_TEST_NOWHERE\n")}, {});
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_THAT(*read, ElementsAre("BOXLITE_TEST_HERE=from here"));
}

TEST_F(EnvFileTest, FilesComeInOrderAndFlagsLast) {
  const auto read = read_environment({file("A=1\n", "one"), file("A=2\nB=2\n", "two")}, {"A=3"});
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_THAT(*read, ElementsAre("A=1", "A=2", "B=2", "A=3"));
}

TEST_F(EnvFileTest, ValuesNeedNotBeUtf8) {
  const auto read = read_environment({file("A=\xff\xfe\n")}, {});
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_THAT(*read, ElementsAre("A=\xff\xfe"));
}

TEST_F(EnvFileTest, ErrorsNameFileAndLineAndNoValue) {
  for (const char* text : {"A=1\n=hunter2\n", "A=1\nMY NAME=hunter2\n", "A=1\nexport B=hunter2\n"}) {
    const auto read = read_environment({file(text)}, {});
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().message(), HasSubstr("line 2"));
    EXPECT_THAT(read.error().message(), HasSubstr("--env-file"));
    EXPECT_THAT(read.error().message(), Not(HasSubstr("hunter2")));
  }
}

TEST_F(EnvFileTest, AMissingFileIsNamed) {
  const auto read = read_environment({"/no/such/file"}, {});
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message(), HasSubstr("--env-file /no/such/file"));
}

}  // namespace
}  // namespace boxlite::cli

#include "runtime/last_words.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/file.h"

namespace boxlite {
namespace {

class LastWordsTest : public testing::Test {
 protected:
  LastWordsTest() : directory_(*TempDir::create(std::filesystem::temp_directory_path(), "boxlite-words-")) {}
  std::string log(const std::string& text) const {
    const std::string path = directory_.path() + "/log";
    std::ofstream(path) << text;
    return path;
  }

 private:
  TempDir directory_;
};

TEST_F(LastWordsTest, AreTheLastLinesThatAreNotBlank) {
  EXPECT_EQ(last_words(log("one\ntwo\r\n\n  \nthree\n\n"), 2), "two | three");
  EXPECT_EQ(last_words(log("no newline"), 3), "no newline");
  EXPECT_EQ(last_words(log(""), 3), "");
  EXPECT_EQ(last_words("/nonexistent", 3), "");
}

TEST_F(LastWordsTest, CannotDriveATerminal) { EXPECT_EQ(last_words(log("a\x1b]0;title\x07 \xff b\n"), 1), "a?]0;title? ? b"); }

TEST_F(LastWordsTest, AreShortHoweverLongTheLogIs) {
  EXPECT_LE(last_words(log(std::string(1 << 20, 'x')), 5).size(), 200U);
  EXPECT_EQ(last_words(log(std::string(1 << 20, '\n') + "end\n"), 5), "end");
}

}  // namespace
}  // namespace boxlite

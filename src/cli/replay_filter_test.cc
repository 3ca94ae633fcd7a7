#include "cli/replay_filter.h"

#include <gtest/gtest.h>

namespace boxlite::cli {
namespace {

std::string replay(const std::string& text) { return ReplayFilter(text.size()).pass(0, text); }

TEST(ReplayFilterTest, QuestionsToTheTerminalAreLeftOut) {
  for (const char* question :
       {"\x1b[6n",          "\x1b[5n",      "\x1b[?6n", "\x1b[c",        "\x1b[0c",         "\x1b[>c",         "\x1b[=c",
        "\x1b[>0q",         "\x1b[?2026$p", "\x1b[x",   "\x1b[14t",      "\x1b[18t",        "\x1b[21t",        "\x1b[?u",
        "\x1b[?1;1S",       "\x1bZ",        "\x05",     "\x1b]11;?\x07", "\x1b]10;?\x1b\\", "\x1b]52;c;?\x07", "\x1bP$qm\x1b\\",
        "\x1bP+q544e\x1b\\"}) {
    EXPECT_EQ(replay(std::string("a") + question + "b"), "ab") << question;
  }
}

TEST(ReplayFilterTest, WhatIsNoQuestionIsPassed) {
  for (const std::string text :
       {"plain \xc3\xa4\n", "\x1b[1;31mred\x1b[0m", "\x1b[2J\x1b[H", "\x1b[?25l", "\x1b[2 q", "\x1b[22;0t", "\x1b[8;24;80t",
        "\x1b[1S", "\x1b[u", "\x1b]0;what?\x07", "\x1b]8;;http://x/?q\x1b\\link", "\x1b(B",
        "\x1b"
        "7\x1b"
        "8",
        "\x1bPq#0\x1b\\", "\x1b[>4;2m", "\x1b[>4n", "\x1b[\x01oops", "\x1b\x1b[A"}) {
    EXPECT_EQ(replay(text), text);
  }
}

TEST(ReplayFilterTest, AQuestionInPiecesIsLeftOutToo) {
  const std::string text = "a\x1b[6nb\x1b]11;?\x1b\\c";
  ReplayFilter filter(text.size());
  std::string seen;
  for (std::size_t i = 0; i < text.size(); ++i) seen += filter.pass(i, text.substr(i, 1));
  EXPECT_EQ(seen, "abc");
}

TEST(ReplayFilterTest, WhatComesAfterTheReplayIsPassedAsItIs) {
  ReplayFilter filter(5);
  EXPECT_EQ(filter.pass(0, "a\x1b[6n\x1b[6nb"), "a\x1b[6nb");
  EXPECT_EQ(filter.pass(10, "\x1b[6n"), "\x1b[6n");
}

TEST(ReplayFilterTest, ASequenceThatTheReplayEndsInIsNotLost) {
  ReplayFilter filter(3);
  EXPECT_EQ(filter.pass(0, "a\x1b["), "a\x1b[");
  EXPECT_EQ(filter.pass(3, "6n"), "6n");
}

TEST(ReplayFilterTest, AStringThatNeverEndsIsNotKeptForEver) {
  const std::string picture = "\x1bPq" + std::string(10000, 'x');
  ReplayFilter filter(2 * picture.size());
  EXPECT_EQ(filter.pass(0, picture), picture);
}

}  // namespace
}  // namespace boxlite::cli

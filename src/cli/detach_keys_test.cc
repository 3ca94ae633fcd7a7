#include "cli/detach_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace boxlite::cli {
namespace {

using ::testing::HasSubstr;

TEST(DetachKeysTest, TheNotationIsDockers) {
  EXPECT_EQ(*parse_detach_keys(std::nullopt), "\x10\x11");
  EXPECT_EQ(*parse_detach_keys(""), "\x10\x11");
  EXPECT_EQ(*parse_detach_keys("ctrl-a,d"), "\x01\x64");
  EXPECT_EQ(*parse_detach_keys("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_"), std::string("\0\x1b\x1c\x1d\x1e\x1f", 6));
  for (const char* bad : {"ctrl-", "ctrl-A", "ctrl-1", "ctrl-ab", "ctrl-p,", ",", "a,,b", "shift-a"}) {
    const auto keys = parse_detach_keys(bad);
    ASSERT_FALSE(keys) << bad;
    EXPECT_THAT(keys.error().message(), HasSubstr(std::string("--detach-keys ") + bad));
  }
}

TEST(DetachKeysTest, TheKeysAreSeenInOnePieceAndByteByByte) {
  DetachKeys once("\x10\x11");
  EXPECT_EQ(once.pass("ab\x10\x11xy"), "ab");
  EXPECT_TRUE(once.seen());
  DetachKeys twice("\x10\x11");
  EXPECT_EQ(twice.pass("\x10"), "");
  EXPECT_FALSE(twice.seen());
  EXPECT_EQ(twice.pass("\x11"), "");
  EXPECT_TRUE(twice.seen());
}

TEST(DetachKeysTest, ABeginningThatGoesOnOtherwiseIsTheCommands) {
  DetachKeys keys("\x10\x11");
  EXPECT_EQ(keys.pass("\x10"), "");
  EXPECT_EQ(keys.pass("a"), "\x10\x61");
  EXPECT_EQ(keys.pass("\x10\x10\x10"), "\x10\x10");
  EXPECT_EQ(keys.pass("\x11"), "");
  EXPECT_TRUE(keys.seen());
}

TEST(DetachKeysTest, WhatIsHeldBackComesWithTheEnd) {
  DetachKeys keys("aab");
  EXPECT_EQ(keys.pass("xaa"), "x");
  EXPECT_EQ(keys.rest(), "aa");
  EXPECT_EQ(keys.pass("aaab"), "a");
  EXPECT_TRUE(keys.seen());
}

TEST(DetachKeysTest, WithoutKeysEverythingPasses) {
  DetachKeys keys("");
  EXPECT_EQ(keys.pass("\x10\x11"), "\x10\x11");
  EXPECT_FALSE(keys.seen());
}

}  // namespace
}  // namespace boxlite::cli

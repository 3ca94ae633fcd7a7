#include "volume/ownership.h"

#include <gtest/gtest.h>

namespace boxlite::volume {
namespace {

struct stat file(std::uint32_t uid, mode_t mode) {
  struct stat st = {};
  st.st_uid = uid;
  st.st_gid = uid;
  st.st_mode = S_IFREG | mode;
  return st;
}

Ownership mapped_to(std::uint32_t shown) {
  Ownership ownership(true, {.uid = 500, .gid = 500, .mode = 0});
  ownership.show_as(shown, shown);
  return ownership;
}

TEST(OwnershipTest, AMarkIsReadAsItWasWritten) {
  const auto mark = parse_mark(format_mark({.uid = 4294967294U, .gid = 0, .mode = 06754}));
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->uid, 4294967294U);
  EXPECT_EQ(mark->gid, 0U);
  EXPECT_EQ(mark->mode, 06754U);
}

TEST(OwnershipTest, WhatIsNoMarkIsNone) {
  for (const char* text : {"", "1", "1:2", "1:2:", "1:2:9", "1:2:3:4", "-1:2:3", "1:2:3 ", "x", "99999999999:1:1", ":::"}) {
    EXPECT_FALSE(parse_mark(text)) << text;
  }
}

TEST(OwnershipTest, RootsServerShowsWhatIsThere) {
  const Attributes seen = Ownership(false, {}).present(file(1000, 04755), Attributes{1, 2, 0});
  EXPECT_EQ(seen.uid, 1000U);
  EXPECT_EQ(seen.mode, 04755U);
}

TEST(OwnershipTest, TheUsersOwnFilesAreTheBoxsMainUsersAndOthersAreNobodys) {
  EXPECT_EQ(mapped_to(7).present(file(500, 0644), std::nullopt).uid, 7U);
  EXPECT_EQ(mapped_to(7).present(file(0, 0644), std::nullopt).uid, 65534U);
}

TEST(OwnershipTest, AMarkSaysWhoOwnsItAndWhatTheOwnerMayDo) {
  const Attributes seen = mapped_to(0).present(file(500, 0644), Attributes{33, 34, 04077});
  EXPECT_EQ(seen.uid, 33U);
  EXPECT_EQ(seen.gid, 34U);
  EXPECT_EQ(seen.mode, 04044U);  // group's and others' bits are the file's
}

TEST(OwnershipTest, TheFileItselfStaysUsableForItsUserAndIsNeverSetUid) {
  EXPECT_EQ(mapped_to(0).own_mode(06000, false), 0600U);
  EXPECT_EQ(mapped_to(0).own_mode(01055, true), 0755U);
  EXPECT_EQ(Ownership(false, {}).own_mode(06000, false), 06000U);
}

TEST(OwnershipTest, OnlyWhatTheFileCannotSayNeedsAMark) {
  EXPECT_FALSE(mapped_to(7).needs_mark({7, 7, 0644}, false));
  EXPECT_TRUE(mapped_to(7).needs_mark({8, 7, 0644}, false));
  EXPECT_TRUE(mapped_to(7).needs_mark({7, 7, 0444}, false));
  EXPECT_TRUE(mapped_to(7).needs_mark({7, 7, 01777}, true));
  EXPECT_TRUE(mapped_to(7).needs_mark({7, 7, 04755}, false));
}

}  // namespace
}  // namespace boxlite::volume

#include "cli/box_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace boxlite::cli {
namespace {

BoxInfo box() {
  BoxInfo info;
  info.id = "0123456789ab";
  info.name = "web-1";
  info.status = BoxStatus::kStopped;
  info.labels = {{"team", "red"}, {"bare", ""}};
  return info;
}

bool matches(const std::vector<std::string>& filters) { return BoxFilter::parse(filters)->matches(box()); }

TEST(BoxFilterTest, LabelsAreAllWantedAndOfOtherKeysOne) {
  EXPECT_TRUE(matches({}));
  EXPECT_TRUE(matches({"label=team", "label=team=red", "label=bare="}));
  EXPECT_FALSE(matches({"label=team", "label=absent"}));
  EXPECT_FALSE(matches({"label=team=re"}));
  EXPECT_TRUE(matches({"name=db", "name=eb-"}));
  EXPECT_FALSE(matches({"name=web", "id=1"}));
  EXPECT_TRUE(matches({"id=0123", "status=exited"}));
  EXPECT_FALSE(matches({"status=running", "status=failed"}));
}

TEST(BoxFilterTest, WhatIsNoFilterIsRefused) {
  for (const char* bad : {"", "label", "label=", "status=gone", "volume=x", "=x"}) {
    const auto filter = BoxFilter::parse({bad});
    ASSERT_FALSE(filter) << bad;
    EXPECT_THAT(filter.error().message(), testing::HasSubstr("--filter"));
  }
}

}  // namespace
}  // namespace boxlite::cli

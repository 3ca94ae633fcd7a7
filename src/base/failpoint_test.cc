#include <gtest/gtest.h>

#include <cerrno>

#include "base/failpoint_plan.h"

namespace boxlite {
namespace {

using Kind = FailpointAction::Kind;

FailpointPlan plan(std::string_view text) {
  auto parsed = FailpointPlan::parse(text);
  EXPECT_TRUE(parsed) << text << ": " << parsed.error().message();
  return std::move(parsed).value_or(FailpointPlan());
}

TEST(FailpointPlanTest, APointThatIsNotNamedIsOff) {
  EXPECT_EQ(plan("").next("a").kind, Kind::kOff);
  EXPECT_EQ(plan("a.b=kill9").next("a").kind, Kind::kOff);
}

TEST(FailpointPlanTest, EveryPointHasItsAction) {
  FailpointPlan all = plan("a=kill9;b=error;c=stop;d=ENOSPC;e=off;");
  EXPECT_EQ(all.next("a").kind, Kind::kKill9);
  EXPECT_EQ(all.next("b").kind, Kind::kError);
  EXPECT_EQ(all.next("b").error_number, 0);
  EXPECT_EQ(all.next("c").kind, Kind::kStop);
  EXPECT_EQ(all.next("d").kind, Kind::kError);
  EXPECT_EQ(all.next("d").error_number, ENOSPC);
  EXPECT_EQ(all.next("e").kind, Kind::kOff);
}

TEST(FailpointPlanTest, ATermServesAsOftenAsItsCountSays) {
  FailpointPlan counted = plan("a=2*off->1*error->EIO;b=1*error");
  EXPECT_EQ(counted.next("a").kind, Kind::kOff);
  EXPECT_EQ(counted.next("a").kind, Kind::kOff);
  EXPECT_EQ(counted.next("a").error_number, 0);
  EXPECT_EQ(counted.next("a").error_number, EIO);
  EXPECT_EQ(counted.next("a").error_number, EIO) << "without a count it serves for ever";
  EXPECT_EQ(counted.next("b").kind, Kind::kError);
  EXPECT_EQ(counted.next("b").kind, Kind::kOff) << "after the last term nothing happens";
}

TEST(FailpointPlanTest, WhatIsNoPlanIsRefused) {
  for (const char* text : {"a",
                           "=error",
                           "a=",
                           "a=kil9",
                           "a=Kill9",
                           "a=0*error",
                           "a=*error",
                           "a=x*error",
                           "a=-1*error",
                           "a=1*",
                           "a=1*off->nothing",
                           "a=error;a=off",
                           "a=error ;b=off",
                           "a=ENOTHING",
                           ";a=error",
                           "a=off,b=error",
                           "a=error->",
                           "a=->error",
                           "a=off->error",
                           "a=99999999999999999999*off"}) {
    const auto parsed = FailpointPlan::parse(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(FailpointPlan::parse("b=off;a=1*kil9").error().message(),
            "\"a=1*kil9\": \"kil9\" is no action; use off, error, kill9, stop or the name of an errno");
}

}  // namespace
}  // namespace boxlite

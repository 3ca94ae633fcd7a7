#include "cli/did_you_mean.h"

#include <array>

#include <gtest/gtest.h>

namespace boxlite::cli {
namespace {

constexpr std::array<std::string_view, 6> kVerbs = {"run", "rm", "ls", "images", "inspect", "exec"};

TEST(DidYouMeanTest, FindsASlipOfTheFingers) {
  EXPECT_EQ(did_you_mean("imags", kVerbs), "images");
  EXPECT_EQ(did_you_mean("inpsect", kVerbs), "inspect");
  EXPECT_EQ(did_you_mean("rnu", kVerbs), "run");
  EXPECT_EQ(did_you_mean("exce", kVerbs), "exec");
}

TEST(DidYouMeanTest, SuggestsNothingForAnotherWord) {
  EXPECT_EQ(did_you_mean("publish", kVerbs), "");
  EXPECT_EQ(did_you_mean("", kVerbs), "");
  EXPECT_EQ(did_you_mean("x", kVerbs), "");
  EXPECT_EQ(did_you_mean("rmi", kVerbs), "");
  EXPECT_EQ(did_you_mean("lsx", kVerbs), "");
  EXPECT_EQ(did_you_mean("sm", kVerbs), "");
  EXPECT_EQ(did_you_mean("rxx", kVerbs), "");
  EXPECT_EQ(did_you_mean(std::string(100000, 'r'), kVerbs), "");
}

}  // namespace
}  // namespace boxlite::cli

#include "cli/values.h"

#include <csignal>
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace boxlite::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(SizeTest, UnitsAreBinaryAndOfAnyCase) {
  EXPECT_EQ(*parse_size("--memory", "0"), 0u);
  EXPECT_EQ(*parse_size("--memory", "1048576"), 1048576u);
  EXPECT_EQ(*parse_size("--memory", "512m"), 512u << 20);
  EXPECT_EQ(*parse_size("--memory", "512M"), 512u << 20);
  EXPECT_EQ(*parse_size("--memory", "2g"), 2ull << 30);
  EXPECT_EQ(*parse_size("--memory", "2GB"), 2ull << 30);
  EXPECT_EQ(*parse_size("--memory", "2GiB"), 2ull << 30);
  EXPECT_EQ(*parse_size("--memory", "1.5g"), 3ull << 29);
  EXPECT_EQ(*parse_size("--memory", "10 kb"), 10240u);
  EXPECT_EQ(*parse_size("--memory", "3t"), 3ull << 40);
  EXPECT_EQ(*parse_size("--memory", "7b"), 7u);
}

TEST(SizeTest, AnythingElseIsRefusedWithFlagAndValue) {
  for (const char* bad : {"", "m", "-1", "+1", "1x", "1mm", "1.m", ".5m", "1 2", " 1", "1m ", "1ib", "0x10", "1e3", "nan"}) {
    const auto size = parse_size("--memory", bad);
    ASSERT_FALSE(size) << bad;
    EXPECT_EQ(size.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(size.error().message(), HasSubstr(std::string("--memory ") + (*bad != 0 ? bad : "\"\"")));
  }
}

TEST(SizeTest, WhatDoesNotFitIsRefusedAndDoesNotWrap) {
  EXPECT_FALSE(parse_size("--memory", "18446744073709551616"));
  EXPECT_FALSE(parse_size("--memory", "18446744073709551615"));
  EXPECT_FALSE(parse_size("--memory", "16384p"));
  EXPECT_TRUE(parse_size("--memory", "4095p"));
}

TEST(CpusTest, AFractionIsRefusedWithTheNextStep) {
  EXPECT_EQ(*parse_cpus("--cpus", "2"), 2u);
  EXPECT_EQ(*parse_cpus("--cpus", "2.0"), 2u);
  EXPECT_THAT(parse_cpus("--cpus", "1.5").error().message(), HasSubstr("--cpus 1.5: a box has whole CPUs; use --cpus 2"));
  EXPECT_THAT(parse_cpus("--cpus", "0").error().message(), HasSubstr("--cpus 0"));
  EXPECT_THAT(parse_cpus("--cpus", "0.5").error().message(), HasSubstr("use --cpus 1"));
  for (const char* bad : {"", "-1", "two", "1.", "1.x", "4294967296"}) EXPECT_FALSE(parse_cpus("--cpus", bad)) << bad;
}

TEST(SecondsTest, OnlyWholeSecondsAreTaken) {
  EXPECT_EQ(*parse_seconds("--time", "0"), std::chrono::seconds(0));
  EXPECT_EQ(*parse_seconds("--time", "90"), std::chrono::seconds(90));
  for (const char* bad : {"", "-1", "1.5", "10s", "99999999999999999999"}) EXPECT_FALSE(parse_seconds("--time", bad)) << bad;
}

TEST(SignalTest, NamesWithAndWithoutSigAndNumbers) {
  EXPECT_EQ(*parse_signal("--signal", "TERM"), SIGTERM);
  EXPECT_EQ(*parse_signal("--signal", "SIGTERM"), SIGTERM);
  EXPECT_EQ(*parse_signal("--signal", "sigusr1"), SIGUSR1);
  EXPECT_EQ(*parse_signal("--signal", "9"), SIGKILL);
  EXPECT_EQ(*parse_signal("--signal", "64"), 64);
  for (const char* bad : {"", "SIG", "0", "65", "-9", "NOPE", "9x"}) EXPECT_FALSE(parse_signal("--signal", bad)) << bad;
}

TEST(BoolTest, DockersSpellings) {
  EXPECT_TRUE(*parse_bool("--rm", "true"));
  EXPECT_TRUE(*parse_bool("--rm", "1"));
  EXPECT_FALSE(*parse_bool("--rm", "F"));
  EXPECT_THAT(parse_bool("--rm", "yes").error().message(), HasSubstr("--rm=yes"));
}

TEST(EnvironmentTest, ANameAloneTakesItsValueFromHereAndIsLeftOutWhenAbsent) {
  ASSERT_EQ(::setenv("BOXLITE_TEST_HERE", "a=b", 1), 0);
  ASSERT_EQ(::unsetenv("BOXLITE_TEST_ABSENT"), 0);
  const auto env = resolve_environment("--env", {"A=1", "BOXLITE_TEST_HERE", "BOXLITE_TEST_ABSENT", "EMPTY="});
  ASSERT_TRUE(env);
  EXPECT_THAT(*env, ElementsAre("A=1", "BOXLITE_TEST_HERE=a=b", "EMPTY="));
}

TEST(EnvironmentTest, AVariableWithoutANameIsRefusedWithoutShowingItsValue) {
  const auto env = resolve_environment("--env", {"=secret"});
  ASSERT_FALSE(env);
  EXPECT_THAT(env.error().message(), HasSubstr("--env"));
  EXPECT_THAT(env.error().message(), Not(HasSubstr("secret")));
  EXPECT_FALSE(resolve_environment("--env", {""}));
}

TEST(ValuesTest, MomentsAreUnderstoodInDockersNotations) {
  const Time now = *parse_time("2026-11-24T12:00:00Z");
  const auto moment = [&](const std::string& text) { return rfc3339(*parse_moment("--since", text, now)); };
  EXPECT_EQ(moment("2026-11-24T05:46:33.25+01:00"), "2026-11-24T04:46:33.250000000Z");
  EXPECT_EQ(moment("1795499193"), "2026-11-24T05:46:33.000000000Z");
  EXPECT_EQ(moment("1795499193.5"), "2026-11-24T05:46:33.500000000Z");
  EXPECT_EQ(moment("1h30m"), "2026-11-24T10:30:00.000000000Z");
  EXPECT_EQ(moment("90s"), "2026-11-24T11:58:30.000000000Z");
  for (const char* bad : {"", "m", "10", "1x", "10m5", "-5m", "2026-13-01", "2026-11-24T25:00:00Z", "9999-01-01T00:00:00Z",
                          "99999999999", "1.", "9999999999999999999s", "0001-01-01T00:00:00Z"}) {
    const auto result = parse_moment("--since", bad, now);
    EXPECT_TRUE(std::string_view(bad) == "10" ? result.has_value() : !result.has_value()) << bad;
  }
}

}  // namespace
}  // namespace boxlite::cli

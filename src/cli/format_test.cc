#include "cli/format.h"

#include <gtest/gtest.h>

#include "cli/output.h"

namespace boxlite::cli {
namespace {

using namespace std::chrono_literals;

TEST(HumanDurationTest, SpeaksAsDockerDoes) {
  EXPECT_EQ(human_duration(-5s), "Less than a second");
  EXPECT_EQ(human_duration(999ms), "Less than a second");
  EXPECT_EQ(human_duration(1s), "1 second");
  EXPECT_EQ(human_duration(59s), "59 seconds");
  EXPECT_EQ(human_duration(60s), "About a minute");
  EXPECT_EQ(human_duration(5min), "5 minutes");
  EXPECT_EQ(human_duration(59min + 59s), "59 minutes");
  EXPECT_EQ(human_duration(60min), "About an hour");
  EXPECT_EQ(human_duration(47h), "47 hours");
  EXPECT_EQ(human_duration(48h), "2 days");
  EXPECT_EQ(human_duration(24h * 13), "13 days");
  EXPECT_EQ(human_duration(24h * 14), "2 weeks");
  EXPECT_EQ(human_duration(24h * 61), "2 months");
  EXPECT_EQ(human_duration(24h * 800), "2 years");
}

TEST(ParseTimeTest, ReadsFractionsAndOffsets) {
  const auto base = parse_time("2026-11-24T05:46:33Z");
  ASSERT_TRUE(base);
  EXPECT_EQ(parse_time("1970-01-01T00:00:00Z"), Time{});
  EXPECT_EQ(*parse_time("2026-11-24T05:46:33.5Z") - *base, 500ms);
  EXPECT_EQ(*parse_time("2026-11-24T05:46:33.123456789Z") - *base, 123456789ns);
  EXPECT_EQ(parse_time("2026-11-24T07:46:33+02:00"), base);
  EXPECT_EQ(parse_time("2026-11-24T00:16:33-05:30"), base);
}

TEST(ParseTimeTest, RefusesWhatIsNoTime) {
  for (const char* bad : {"", "now", "2026-11-24", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-24T05:46:33",
                          "2026-11-24T25:00:00Z", "2026-11-24T05:46:33Zjunk", "2026-11-24T05:46:33*02:00"}) {
    EXPECT_FALSE(parse_time(bad)) << bad;
  }
}

TEST(HumanSizeTest, HasThreeDigitsAndADecimalUnit) {
  EXPECT_EQ(human_size(0), "0B");
  EXPECT_EQ(human_size(999), "999B");
  EXPECT_EQ(human_size(1000), "1kB");
  EXPECT_EQ(human_size(7'800'000), "7.8MB");
  EXPECT_EQ(human_size(123'456'789), "123MB");
  EXPECT_EQ(human_size(999'999), "1MB");
}

TEST(StatusTextTest, SaysWhatTheBoxDoes) {
  const Time now = *parse_time("2026-11-24T06:00:00Z");
  BoxInfo box;
  EXPECT_EQ(status_text(box, now), "Created");
  box.status = BoxStatus::kRunning;
  box.started_at = "2026-11-24T05:55:00Z";
  EXPECT_EQ(status_text(box, now), "Up 5 minutes");
  box.status = BoxStatus::kStopped;
  box.exit_code = 0;
  box.finished_at = "2026-11-24T05:57:00Z";
  EXPECT_EQ(status_text(box, now), "Exited (0) 3 minutes ago");
  box.exit_code = std::nullopt;
  box.reason = "host rebooted";
  EXPECT_EQ(status_text(box, now), "Exited: host rebooted");
  box.status = BoxStatus::kFailed;
  box.reason = "crashed\x1b[2J";
  EXPECT_EQ(status_text(box, now), "Failed: crashed\\x1b[2J");
  box.status = BoxStatus::kUnresponsive;
  EXPECT_EQ(status_text(box, now), "Unresponsive");
}

TEST(TableTest, ColumnsAlignWhateverTheirCharactersWeigh) {
  Table table({"A", "B"});
  table.add({"häuser", "x"});
  table.add({"b", "y"});
  EXPECT_EQ(table.text(), "A        B\nhäuser   x\nb        y\n");
}

TEST(TruncateTest, CutsBetweenCharacters) {
  EXPECT_EQ(truncate("short", 20), "short");
  EXPECT_EQ(truncate("sleep infinity and more", 20), "sleep infinity and …");
  EXPECT_EQ(truncate("ääää", 3), "ää…");
}

TEST(CommandTextTest, QuotesWhatAShellWouldSplit) {
  EXPECT_EQ(command_text({"sh", "-c", "echo it's"}), "sh -c 'echo it'\\''s'");
  EXPECT_EQ(command_text({"echo", ""}), "echo ''");
  EXPECT_EQ(command_text({"printf", "a\nb"}), "printf 'a\\x0ab'");
}

TEST(FamiliarReferenceTest, LeavesDockersHubOut) {
  EXPECT_EQ(familiar_reference("docker.io/library/alpine:3.20"), "alpine:3.20");
  EXPECT_EQ(familiar_reference("docker.io/me/app:1"), "me/app:1");
  EXPECT_EQ(familiar_reference("127.0.0.1:5000/demo:1"), "127.0.0.1:5000/demo:1");
}

TEST(OneLineTest, ControlCharactersAreShownAndTextIsKept) {
  EXPECT_EQ(one_line("a\nb\tc\x7f"), "a\\x0ab\\x09c\\x7f");
  EXPECT_EQ(one_line("\x1b]0;title\x07"), "\\x1b]0;title\\x07");
  EXPECT_EQ(one_line("\xc2\x9b"
                     "31m"),
            "\\x9b31m");
  EXPECT_EQ(one_line("größe …"), "größe …");
  EXPECT_EQ(one_line("\x9b"
                     "5m \xff \xe2\x80 \xc2"),
            "\\x9b5m \\xff \\xe2\\x80 \\xc2");
}

}  // namespace
}  // namespace boxlite::cli

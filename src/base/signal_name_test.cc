#include "base/signal_name.h"

#include <gtest/gtest.h>

namespace boxlite {
namespace {

TEST(StopSignalTest, NamesNumbersAndRealTimeSignalsAreUnderstood) {
  const std::pair<const char*, int> cases[] = {{"SIGTERM", 15},  {"term", 15},        {"SigKill", 9},     {"9", 9},
                                               {"64", 64},       {"SIGRTMIN", 34},    {"SIGRTMIN+3", 37}, {"RTMIN+30", 64},
                                               {"SIGRTMAX", 64}, {"SIGRTMAX-14", 50}, {"SIGWINCH", 28},   {"WINCH", 28}};
  for (const auto& [text, number] : cases) EXPECT_EQ(signal_number(text).value_or(-1), number) << text;
}

TEST(StopSignalTest, EverythingElseIsRefused) {
  for (const char* text : {"", "0", "65", "-9", "9x", "SIG", "SIGFOO", "SIGTERM+1", "SIGRTMIN+31", "SIGRTMIN-1", "SIGRTMAX+1",
                           "SIGRTMIN+", "SIGRTMIN+-3", "99999999999"}) {
    EXPECT_FALSE(signal_number(text)) << text;
  }
}

}  // namespace
}  // namespace boxlite

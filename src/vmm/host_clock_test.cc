#include "vmm/host_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"

namespace boxlite::vmm {
namespace {

double ppm(std::uint64_t a, std::uint64_t b) {
  return std::abs(static_cast<double>(a) - static_cast<double>(b)) / static_cast<double>(b) * 1e6;
}

// The kernel refuses a tsc_early_khz that is off by more than about 500 ppm when it refines it.
TEST(HostClockTest, RepeatedMeasurementsAgree) {
  const auto reference = measure_tsc_khz();
  ASSERT_TRUE(reference) << reference.error().message();
  double worst = 0;
  for (int i = 0; i < 5; ++i) worst = std::max(worst, ppm(*measure_tsc_khz(), *reference));
  RecordProperty("worst_ppm", std::to_string(worst));
  EXPECT_LT(worst, 300) << *reference << " kHz";
}

TEST(HostClockTest, TheAnswerIsRememberedForThisBootOnly) {
  auto dir = TempDir::create("/tmp", "boxlite-clock-test-");
  const std::string memo = dir->path() + "/tsc";
  const auto first = cached_tsc_khz(memo);
  ASSERT_TRUE(first) << first.error().message();
  EXPECT_EQ(*cached_tsc_khz(memo), *first);
  ASSERT_TRUE(write_file_volatile(memo, R"({"boot_id":"another boot","tsc_khz":1})", 0600));
  EXPECT_LT(ppm(*cached_tsc_khz(memo), *first), 300);
  ASSERT_TRUE(write_file_volatile(memo, "garbage", 0600));
  EXPECT_LT(ppm(*cached_tsc_khz(memo), *first), 300);
}

TEST(HostClockTest, WhoeverAsksFirstAtTheSameTimeGetsTheSameAnswer) {
  auto dir = TempDir::create("/tmp", "boxlite-clock-test-");
  for (int round = 0; round < 3; ++round) {
    const std::string memo = dir->path() + "/tsc" + std::to_string(round);
    std::array<std::uint64_t, 8> answers = {};
    {
      std::vector<std::jthread> threads;
      for (std::uint64_t& answer : answers) threads.emplace_back([&] { answer = cached_tsc_khz(memo).value_or(0); });
    }
    EXPECT_EQ(std::ranges::count(answers, *cached_tsc_khz(memo)), std::ssize(answers));
  }
}

}  // namespace
}  // namespace boxlite::vmm

#include "cli/patient_call.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <vector>

#include <gtest/gtest.h>

namespace boxlite::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto kLong = std::chrono::hours(1);

TEST(PatientCallTest, AnAnswerInTimeIsTheResult) {
  EXPECT_TRUE(call_within(kLong, [] { return Result<void>(); }));
  const auto refused = call_within(kLong, []() -> Result<void> { return fail(ErrorCode::kNotFound, "no such session"); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kNotFound);
}

TEST(PatientCallTest, ABoxThatDoesNotAnswerInTimeIsUnavailable) {
  struct Gate {
    std::mutex mutex;
    std::condition_variable opened;
    bool open = false;
    bool passed = false;
  };
  const auto gate = std::make_shared<Gate>();
  const auto result = call_within(10ms, [gate] {
    std::unique_lock lock(gate->mutex);
    gate->opened.wait(lock, [&] { return gate->open; });
    gate->passed = true;
    gate->opened.notify_all();
    return Result<void>();
  });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kUnavailable);
  std::unique_lock lock(gate->mutex);
  gate->open = true;
  gate->opened.notify_all();
  EXPECT_TRUE(gate->opened.wait_for(lock, 60s, [&] { return gate->passed; })) << "the call was not left to itself";
}

TEST(PatientCallTest, SignalsDuringAnAnsweredCallAreKept) {
  auto signals = SignalWatch::create({SIGINT, SIGUSR1});
  ASSERT_TRUE(signals);
  call_or_leave(*signals, "farewell", [] {
    ::kill(::getpid(), SIGUSR1);
    ::kill(::getpid(), SIGINT);
  });
  std::vector<int> seen;
  while (const auto signal = signals->next()) seen.push_back(*signal);
  std::ranges::sort(seen);
  EXPECT_EQ(seen, (std::vector{SIGINT, SIGUSR1}));
}

/// What a user does to a call that is never answered.
void interrupt(std::initializer_list<int> sent) {
  auto signals = SignalWatch::create({SIGINT, SIGTERM, SIGUSR1});
  call_or_leave(*signals, "box a does not answer", [&] {
    for (const int signal : sent) ::kill(::getpid(), signal);
    for (;;) ::pause();
  });
}

TEST(PatientCallDeathTest, ASignalEndsACallThatIsNotAnswered) {
  EXPECT_EXIT(interrupt({SIGUSR1, SIGINT}), ::testing::ExitedWithCode(130), "boxlite: box a does not answer");
  EXPECT_EXIT(interrupt({SIGTERM}), ::testing::ExitedWithCode(143), "boxlite: box a does not answer");
}

TEST(PatientCallDeathTest, ASecondSignalDoesNotWait) {
  EXPECT_EXIT(interrupt({SIGINT, SIGTERM}), ::testing::ExitedWithCode(143), "boxlite: box a does not answer");
}

}  // namespace
}  // namespace boxlite::cli

#include "shim/stop_sequence.h"

#include <gtest/gtest.h>

#include <vector>

namespace boxlite::shim {
namespace {

using namespace std::chrono_literals;

class StopSequenceTest : public ::testing::Test {
 protected:
  EventLoop loop_;
  bool kill_ends_it_ = true;
  std::vector<std::string> done_;
  StopSequence sequence_{loop_,
                         {.signal = [this] { done_.emplace_back("signal"); },
                          .shutdown =
                              [this] {
                                done_.emplace_back("shutdown");
                                loop_.stop();
                              },
                          .quit = [this] { done_.emplace_back("quit"); },
                          .kill =
                              [this] {
                                done_.emplace_back("kill");
                                if (kill_ends_it_) loop_.stop();
                              },
                          .kill_jail =
                              [this] {
                                done_.emplace_back("kill jail");
                                loop_.stop();
                              }}};
  using Steps = std::vector<std::string>;
};

TEST_F(StopSequenceTest, TheShutdownFollowsWhenTheGraceIsOver) {
  sequence_.stop(1ms);
  EXPECT_EQ(done_, Steps{"signal"});
  loop_.run();
  EXPECT_EQ(done_, (Steps{"signal", "shutdown"}));
}

TEST_F(StopSequenceTest, AShorterGraceReplacesALongerOneAndTheSignalIsSentOnce) {
  sequence_.stop(1h);
  sequence_.stop(1ms);
  loop_.run();
  EXPECT_EQ(done_, (Steps{"signal", "shutdown"}));
}

TEST_F(StopSequenceTest, ALongerGraceDoesNotLengthenAShorterOne) {
  sequence_.stop(1ms);
  sequence_.stop(1h);
  loop_.run();
  EXPECT_EQ(done_, (Steps{"signal", "shutdown"}));
}

TEST_F(StopSequenceTest, AStopAfterTheCommandsOwnEndStillShortensTheWait) {
  sequence_.expect_end(1h);
  sequence_.stop(1ms);
  loop_.run();
  EXPECT_EQ(done_, (Steps{"signal", "shutdown"}));
}

TEST_F(StopSequenceTest, WithoutAnAgentItEndsWithQuitAndKill) {
  sequence_.quit();
  loop_.run();
  EXPECT_EQ(done_, (Steps{"quit", "kill"}));
}

TEST_F(StopSequenceTest, AKillThatEndsNothingIsFollowedByTheJails) {
  kill_ends_it_ = false;
  sequence_.kill();
  EXPECT_EQ(done_, Steps{"kill"});
  loop_.run();
  EXPECT_EQ(done_, (Steps{"kill", "kill jail"}));
}

TEST_F(StopSequenceTest, ItNeverGoesBack) {
  sequence_.quit();
  sequence_.shut_down();
  sequence_.stop(0ms);
  sequence_.expect_end(0ms);
  loop_.run();
  EXPECT_EQ(done_, (Steps{"quit", "kill"}));
}

TEST_F(StopSequenceTest, NothingFollowsTheEnd) {
  sequence_.stop(1ms);
  sequence_.finish();
  Timer later(loop_);
  later.start(50ms, [this] { loop_.stop(); });
  loop_.run();
  sequence_.stop(0ms);
  sequence_.shut_down();
  sequence_.quit();
  EXPECT_EQ(done_, Steps{"signal"});
}

}  // namespace
}  // namespace boxlite::shim

#include "runtime/status.h"

#include <gtest/gtest.h>

namespace boxlite {
namespace {

constexpr const char* kThisBoot = "boot-2";

Observation started_once() {
  Observation seen;
  seen.row.id = "0123456789ab";
  seen.row.name = "web";
  seen.row.generation = 3;
  seen.row.start = StartIntent{kThisBoot, "2026-11-24T00:00:00Z"};
  seen.boot_id = kThisBoot;
  return seen;
}

LeaseRecord lease_record(std::uint64_t generation) {
  LeaseRecord record;
  record.pid = 4242;
  record.generation = generation;
  return record;
}

Observation with_lease_held(Phase phase, std::uint64_t generation = 3) {
  Observation seen = started_once();
  seen.lease = {true, lease_record(3)};
  seen.state = StateRecord{.generation = generation, .phase = phase, .started_at = "", .accelerator = "tcg", .ports = {}};
  return seen;
}

ExitRecord exit_record(std::uint64_t generation, bool failed) {
  ExitRecord record;
  record.generation = generation;
  record.failed = failed;
  record.code = failed ? 0 : 7;
  record.reason = failed ? "QEMU was killed" : "";
  return record;
}

TEST(StatusTest, ABoxThatWasNeverStartedIsCreated) {
  Observation seen;
  seen.boot_id = kThisBoot;
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kCreated);
}

TEST(StatusTest, WhileTheLeaseIsHeldThePhaseTells) {
  EXPECT_EQ(derive_status(with_lease_held(Phase::kStarting)).status, BoxStatus::kStarting);
  EXPECT_EQ(derive_status(with_lease_held(Phase::kRunning)).status, BoxStatus::kRunning);
  EXPECT_EQ(derive_status(with_lease_held(Phase::kStopping)).status, BoxStatus::kStopping);
}

TEST(StatusTest, WithACheckpointItIsSuspendedWhateverEndedIt) {
  Observation seen = started_once();
  seen.checkpoint = true;
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kSuspended) << "its shim was killed right after it had taken it";
  EXPECT_FALSE(rests_on_absence(seen));
  seen.exit = exit_record(3, true);
  EXPECT_EQ(derive_status(seen).reason, "its last start has failed: QEMU was killed");
  seen.boot_id = "boot-3";
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kSuspended);
  seen.row.generation = 0;
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kSuspended);
  seen.lease = {true, lease_record(3)};
  EXPECT_NE(derive_status(seen).status, BoxStatus::kSuspended);
  seen.lease = {};
  seen.row.remove_intent = true;
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kFailed);
}

TEST(StatusTest, AStateOfAnEarlierStartMeansThatTheShimHasOnlyJustBegun) {
  EXPECT_EQ(derive_status(with_lease_held(Phase::kRunning, 2)).status, BoxStatus::kStarting);
  Observation none = with_lease_held(Phase::kRunning);
  none.state.reset();
  EXPECT_EQ(derive_status(none).status, BoxStatus::kStarting);
}

TEST(StatusTest, AHeldLeaseOutweighsEverythingThatSaysTheBoxIsOver) {
  Observation seen = with_lease_held(Phase::kRunning);
  seen.exit = exit_record(3, true);
  seen.row.start->boot_id = "boot-1";
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kRunning);
}

TEST(StatusTest, ASilentShimIsUnresponsiveAndTheReasonSaysWhatToDo) {
  Observation seen = with_lease_held(Phase::kRunning);
  seen.shim_silent = true;
  const DerivedStatus derived = derive_status(seen);
  EXPECT_EQ(derived.status, BoxStatus::kUnresponsive);
  EXPECT_NE(derived.reason.find("4242"), std::string::npos);
  EXPECT_NE(derived.reason.find("boxlite rm -f web"), std::string::npos);
}

TEST(StatusTest, AnExitRecordOfThisStartTellsCodeOrReason) {
  Observation seen = started_once();
  seen.exit = exit_record(3, false);
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kStopped);
  EXPECT_EQ(derive_status(seen).exit_code, 7);
  seen.exit = exit_record(3, true);
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kFailed);
  EXPECT_EQ(derive_status(seen).exit_code, std::nullopt);
  EXPECT_EQ(derive_status(seen).reason, "QEMU was killed");
}

TEST(StatusTest, AnExitRecordOutlivesAReboot) {
  Observation seen = started_once();
  seen.row.start->boot_id = "boot-1";
  seen.exit = exit_record(3, false);
  EXPECT_EQ(derive_status(seen).exit_code, 7);
}

TEST(StatusTest, AnExitRecordOfAnEarlierStartSaysNothing) {
  Observation seen = started_once();
  seen.exit = exit_record(2, false);
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kFailed);
  EXPECT_EQ(derive_status(seen).exit_code, std::nullopt);
}

TEST(StatusTest, AnotherBootStoppedTheBoxEvenIfItHadCrashedFirst) {
  Observation seen = started_once();
  seen.row.start->boot_id = "boot-1";
  seen.lease.record = lease_record(3);
  const DerivedStatus derived = derive_status(seen);
  EXPECT_EQ(derived.status, BoxStatus::kStopped);
  EXPECT_EQ(derived.reason, "the host was rebooted");
}

TEST(StatusTest, AStartInProgressHoldsTheOperationLock) {
  Observation seen = started_once();
  seen.lease.record = lease_record(2);
  seen.op_lock_held = true;
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kStarting);
}

TEST(StatusTest, AStartWithoutItsStarterWasInterrupted) {
  Observation seen = started_once();
  seen.lease.record = lease_record(2);
  const DerivedStatus derived = derive_status(seen);
  EXPECT_EQ(derived.status, BoxStatus::kFailed);
  EXPECT_EQ(derived.reason, "its start was interrupted");
  seen.lease.record.reset();
  EXPECT_EQ(derive_status(seen).reason, "its start was interrupted");
}

TEST(StatusTest, AShimThatHadTheLeaseAndLeftNoRecordCrashed) {
  Observation seen = started_once();
  seen.lease.record = lease_record(3);
  seen.last_words = "console: panic";
  const DerivedStatus derived = derive_status(seen);
  EXPECT_EQ(derived.status, BoxStatus::kFailed);
  EXPECT_NE(derived.reason.find("crashed"), std::string::npos);
  EXPECT_NE(derived.reason.find("panic"), std::string::npos);
}

TEST(StatusTest, ACrashStaysACrashWhileSomebodyHoldsTheOperationLock) {
  Observation seen = started_once();
  seen.lease.record = lease_record(3);
  seen.op_lock_held = true;
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kFailed);
}

TEST(StatusTest, ARemovalThatWasInterruptedSaysHowToFinishIt) {
  Observation seen = started_once();
  seen.exit = exit_record(3, false);
  seen.row.remove_intent = true;
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kFailed);
  EXPECT_NE(derive_status(seen).reason.find("boxlite rm web"), std::string::npos);
  seen.op_lock_held = true;
  EXPECT_EQ(derive_status(seen).status, BoxStatus::kStopping);
}

TEST(StatusTest, OnlyAnswersFromAbsenceAreLookedAtAgain) {
  EXPECT_TRUE(rests_on_absence(started_once()));
  Observation ended = started_once();
  ended.exit = exit_record(3, false);
  EXPECT_FALSE(rests_on_absence(ended));
  EXPECT_FALSE(rests_on_absence(with_lease_held(Phase::kRunning)));
  EXPECT_FALSE(rests_on_absence(Observation()));
}

TEST(StatusTest, EveryStatusHasAName) {
  EXPECT_EQ(name(BoxStatus::kCreated), "created");
  EXPECT_EQ(name(BoxStatus::kStarting), "starting");
  EXPECT_EQ(name(BoxStatus::kRunning), "running");
  EXPECT_EQ(name(BoxStatus::kStopping), "stopping");
  EXPECT_EQ(name(BoxStatus::kStopped), "stopped");
  EXPECT_EQ(name(BoxStatus::kFailed), "failed");
  EXPECT_EQ(name(BoxStatus::kUnresponsive), "unresponsive");
}

}  // namespace
}  // namespace boxlite

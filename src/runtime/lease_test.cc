#include "runtime/lease.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "runtime/exit_record.h"
#include "runtime/test_home.h"

namespace boxlite {
namespace {

constexpr const char* kId = "0123456789ab";
constexpr std::chrono::milliseconds kNoWait{0};
constexpr std::chrono::milliseconds kLongWait{60000};

class LeaseTest : public testing::Test {
 protected:
  LeaseTest() : database_(home_.database()) {
    BoxRow row;
    row.id = kId;
    row.name = "web";
    row.config = Json::object();
    EXPECT_TRUE(database_.insert_box(row));
    EXPECT_TRUE(database_.begin_start(kId, {*boot_id(), "now"}, false));
  }

  const HomePaths& paths() const { return home_.paths(); }

  // A process that takes the lease and waits to be killed.
  pid_t start_holder(std::uint64_t generation) {
    sys::Pipe ready = *sys::pipe();
    const pid_t child = ::fork();
    if (child == 0) {
      Database own = *Database::open(paths().database());
      const auto lease = Lease::take(paths(), own, kId, generation, kLongWait);
      (void)sys::write_all(ready.write_end.get(), lease ? "y" : "n");
      for (;;) ::pause();
    }
    std::byte answer = {};
    EXPECT_EQ(*sys::read(ready.read_end.get(), std::span(&answer, 1)), 1U);
    EXPECT_EQ(answer, std::byte{'y'});
    return child;
  }

  static void end(pid_t child) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }

  void write_foreign_record(pid_t pid, std::uint64_t start_time) {
    const LeaseRecord record{pid, start_time, *boot_id(), *pid_namespace(), 1};
    ASSERT_TRUE(write_file_volatile(paths().lease(kId), dump_json(to_json(record)), 0600));
  }

  TestHome home_;
  Database database_;
};

TEST_F(LeaseTest, IsHeldFromTakeToReleaseAndNamesItsHolder) {
  EXPECT_FALSE(probe_lease(paths(), kId)->held);
  {
    const auto lease = Lease::take(paths(), database_, kId, 1, kNoWait);
    ASSERT_TRUE(lease);
    const LeaseState state = *probe_lease(paths(), kId);
    EXPECT_TRUE(state.held);
    ASSERT_TRUE(state.record);
    EXPECT_EQ(state.record->pid, ::getpid());
    EXPECT_EQ(state.record->generation, 1U);
    EXPECT_EQ(state.record->start_time, *process_start_time(::getpid()));
  }
  const LeaseState state = *probe_lease(paths(), kId);
  EXPECT_FALSE(state.held);
  EXPECT_TRUE(state.record) << "who held it last stays readable";
}

TEST_F(LeaseTest, EndsWithAHolderThatIsKilled) {
  const pid_t holder = start_holder(1);
  EXPECT_TRUE(probe_lease(paths(), kId)->held);
  end(holder);
  EXPECT_FALSE(probe_lease(paths(), kId)->held);
}

TEST_F(LeaseTest, IsHeldByAHolderThatIsStopped) {
  const pid_t holder = start_holder(1);
  ::kill(holder, SIGSTOP);
  ::waitpid(holder, nullptr, WUNTRACED);
  EXPECT_TRUE(probe_lease(paths(), kId)->held);
  EXPECT_TRUE(*open_lease_holder(paths(), kId));
  end(holder);
}

TEST_F(LeaseTest, TheHolderIsFoundByAPidfdThatSignalsIt) {
  const pid_t holder = start_holder(1);
  const std::optional<UniqueFd> pidfd = *open_lease_holder(paths(), kId);
  ASSERT_TRUE(pidfd);
  ASSERT_TRUE(signal_process(pidfd->get(), SIGKILL));
  int status = 0;
  EXPECT_EQ(::waitpid(holder, &status, 0), holder);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST_F(LeaseTest, SurvivesPidReuse) {
  // The last holder is dead and its pid belongs to somebody else, here to this very process.
  write_foreign_record(::getpid(), *process_start_time(::getpid()) + 1);
  EXPECT_FALSE(probe_lease(paths(), kId)->held);
  EXPECT_FALSE(*open_lease_holder(paths(), kId)) << "a free lease has no holder, whatever the record says";
  // And while the lease is held, by somebody who has not written yet: nobody to signal rather than the wrong one.
  const auto lock = OfdLock::try_acquire(paths().lease(kId));
  ASSERT_TRUE(*lock);
  const auto holder = open_lease_holder(paths(), kId);
  ASSERT_FALSE(holder);
  EXPECT_EQ(holder.error().code(), ErrorCode::kUnavailable);
}

TEST_F(LeaseTest, AHolderInAnotherPidNamespaceIsNamedAndNotSignalled) {
  const LeaseRecord record{1, 0, *boot_id(), *pid_namespace() + 1, 1};
  ASSERT_TRUE(write_file_volatile(paths().lease(kId), dump_json(to_json(record)), 0600));
  const auto lock = OfdLock::try_acquire(paths().lease(kId));
  const auto holder = open_lease_holder(paths(), kId);
  ASSERT_FALSE(holder);
  EXPECT_EQ(holder.error().code(), ErrorCode::kUnsupported);
}

TEST_F(LeaseTest, AStartThatWasOvertakenDoesNotGetIt) {
  ASSERT_TRUE(database_.begin_start(kId, {*boot_id(), "later"}, false));
  const auto lease = Lease::take(paths(), database_, kId, 1, kNoWait);
  ASSERT_FALSE(lease);
  EXPECT_EQ(lease.error().code(), ErrorCode::kInvalidState);
  EXPECT_FALSE(probe_lease(paths(), kId)->held);
}

TEST_F(LeaseTest, ABoxThatIsGoneLeavesNoLockFileBehindALateShim) {
  ASSERT_TRUE(database_.delete_box(kId));
  const auto lease = Lease::take(paths(), database_, kId, 1, kNoWait);
  ASSERT_FALSE(lease);
  EXPECT_EQ(lease.error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(paths().lease(kId)));
}

TEST_F(LeaseTest, IsWaitedForWhileTheOneBeforeIsEnding) {
  const pid_t holder = start_holder(1);
  EXPECT_EQ(Lease::take(paths(), database_, kId, 1, kNoWait).error().code(), ErrorCode::kUnavailable);
  std::thread killer([&] { end(holder); });
  EXPECT_TRUE(Lease::take(paths(), database_, kId, 1, kLongWait));
  killer.join();
}

TEST_F(LeaseTest, AnExitWithALongReasonLeavesTheRecordReadable) {
  for (const char* piece : {"x", "\"", "\n", "\xff"}) {
    auto lease = Lease::take(paths(), database_, kId, 1, kNoWait);
    ASSERT_TRUE(lease);
    ExitRecord exit;
    exit.generation = 1;
    exit.failed = true;
    exit.finished_at = "now";
    for (int i = 0; i < 10000; ++i) exit.reason += piece;
    ASSERT_TRUE(lease->leave(exit));
    EXPECT_TRUE(probe_lease(paths(), kId)->record) << "10000 of " << piece;
    const auto left = read_left_record(paths().lease(kId));
    ASSERT_TRUE(left) << "10000 of " << piece;
    EXPECT_TRUE(left->failed);
    EXPECT_EQ(left->reason.find('\n'), std::string::npos);
  }
}

TEST_F(LeaseTest, ACommandThatTakesItLeavesTheRecordOfTheShim) {
  end(start_holder(1));
  const LeaseState before = *probe_lease(paths(), kId);
  OpLock::Locked locked = *OpLock::acquire(paths(), database_, kId);
  ASSERT_TRUE(*locked.lock.take_lease());
  const LeaseState during = *probe_lease(paths(), kId);
  EXPECT_TRUE(during.held);
  ASSERT_TRUE(during.record);
  EXPECT_EQ(during.record->pid, before.record->pid);
  locked.lock.release();
  EXPECT_FALSE(probe_lease(paths(), kId)->held);
}

TEST_F(LeaseTest, TheOperationLockOfARemovedBoxIsNotFoundAndLeavesNoFile) {
  ASSERT_TRUE(database_.delete_box(kId));
  const auto locked = OpLock::acquire(paths(), database_, kId);
  ASSERT_FALSE(locked);
  EXPECT_EQ(locked.error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(paths().op_lock(kId)));
}

TEST_F(LeaseTest, AWaiterForARemovedBoxLearnsThatItIsGone) {
  OpLock::Locked locked = *OpLock::acquire(paths(), database_, kId);
  Database own = home_.database();
  std::thread waiter([&] {
    const auto late = OpLock::acquire(paths(), own, kId);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::kNotFound);
  });
  ASSERT_TRUE(database_.delete_box(kId));
  ASSERT_TRUE(locked.lock.unlink_lock_files());
  locked.lock.release();
  waiter.join();
  EXPECT_FALSE(std::filesystem::exists(paths().op_lock(kId)));
}

TEST_F(LeaseTest, AForkedChildHoldsNoOperationLock) {
  sys::Pipe hold = *sys::pipe();
  auto locked = std::make_unique<OpLock::Locked>(*OpLock::acquire(paths(), database_, kId));
  ASSERT_TRUE(*locked->lock.take_lease());
  const pid_t child = ::fork();
  if (child == 0) {
    hold.write_end.reset();
    std::byte byte = {};
    (void)sys::read(hold.read_end.get(), std::span(&byte, 1));
    locked.reset();  // in the child: must not unlock the parent's either
    ::_exit(0);
  }
  EXPECT_TRUE(*OfdLock::held(paths().op_lock(kId)));
  locked.reset();
  EXPECT_FALSE(*OfdLock::held(paths().op_lock(kId))) << "while the child lives";
  EXPECT_FALSE(*OfdLock::held(paths().lease(kId)));
  OpLock::Locked again = *OpLock::acquire(paths(), database_, kId);
  hold.write_end.reset();
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(*OfdLock::held(paths().op_lock(kId))) << "after the child has dropped what it inherited";
}

}  // namespace
}  // namespace boxlite

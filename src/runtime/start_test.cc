// The start protocol with a shim that has no VM (fake_shim_program.cc); every command is a process of its own (test_home.h).
#include "runtime/start.h"

#include <signal.h>
#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/lease.h"
#include "runtime/process_tree.h"
#include "runtime/test_home.h"

namespace boxlite {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

void make_fifo(const std::string& path) { ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0); }
// Lets through whoever waits in open() for somebody to write.
void open_gate(const std::string& path) { (void)sys::open(path, O_WRONLY | O_NONBLOCK); }

// Ends what a test has left running, and proves that it could.
void remove_all(const TestHome& home) {
  for (const BoxRow& row : home.rows()) EXPECT_TRUE(home.run({"rm-f", row.id}).ok());
  EXPECT_THAT(home.box_files(), IsEmpty());
}

TEST(StartTest, ABoxRunsUntilItIsStoppedAndCanRunAgain) {
  const TestHome home;
  home.create("web", {"run"});
  EXPECT_EQ(home.status("web"), "created");
  for (int i = 0; i < 2; ++i) {
    const CommandResult started = home.run({"start", "web"});
    ASSERT_TRUE(started.ok()) << started.output;
    EXPECT_EQ(home.status("web"), "running");
    EXPECT_TRUE(home.run({"stop", "web", "10"}).ok());
    EXPECT_EQ(home.status("web"), "stopped 7");
    EXPECT_EQ(home.run({"wait", "web"}).output, "7\n");
  }
  EXPECT_EQ(home.rows().front().generation, 2U);
  EXPECT_TRUE(home.run({"stop", "web", "10"}).ok()) << "a box that does not run is no error";
  remove_all(home);
}

TEST(StartTest, ASecondStartDoesNothing) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  ASSERT_TRUE(home.run({"start", "web"}).ok());
  const pid_t shim = probe_lease(home.paths(), id)->record->pid;
  EXPECT_TRUE(home.run({"start", "web"}).ok());
  EXPECT_EQ(probe_lease(home.paths(), id)->record->pid, shim);
  EXPECT_EQ(home.rows().front().generation, 1U);
  remove_all(home);
}

TEST(StartTest, ManyStartsAtOnceMakeOneShim) {
  const TestHome home;
  home.create("web", {"run"});
  std::vector<ChildProcess> starts;
  for (int i = 0; i < 8; ++i) starts.push_back(home.launch({"start", "web"}));
  for (ChildProcess& start : starts) EXPECT_EQ(start.wait()->code, 0);
  EXPECT_EQ(home.rows().front().generation, 1U);
  EXPECT_EQ(home.status("web"), "running");
  remove_all(home);
}

TEST(StartTest, AShimThatDoesNothingIsAFailedStartWithAReason) {
  const TestHome home;
  home.create("web", {"run"});
  home.use_shim("/bin/true");
  const CommandResult started = home.run({"start", "web"});
  EXPECT_FALSE(started.ok());
  EXPECT_THAT(started.output, StartsWith("start box web: its shim ended before it began"));
  EXPECT_EQ(home.status("web"), "failed: its shim ended before it began");
  home.use_shim(BOXLITE_FAKE_SHIM);
  EXPECT_TRUE(home.run({"start", "web"}).ok());
  remove_all(home);
}

TEST(StartTest, AShimThatDiesBeforeTheLeaseIsQuoted) {
  const TestHome home;
  home.create("web", {"die-before-lease"});
  EXPECT_THAT(home.run({"start", "web"}).output, HasSubstr("last words of the fake shim"));
  EXPECT_THAT(home.status("web"), StartsWith("failed: its shim ended before it began: last words"));
  remove_all(home);
}

TEST(StartTest, AShimThatIsKilledWithTheLeaseHasCrashed) {
  const TestHome home;
  home.create("web", {"die-after-lease"});
  EXPECT_THAT(home.run({"start", "web"}).output, HasSubstr("crashed"));
  EXPECT_THAT(home.status("web"), StartsWith("failed: crashed"));
  EXPECT_THAT(home.run({"ls"}).output, StartsWith("web failed: crashed"));
  EXPECT_FALSE(home.run({"wait", "web"}).ok());
  remove_all(home);
}

TEST(StartTest, ACrashIsNotExplainedByTheLogOfAnEarlierStart) {
  const TestHome home;
  const std::string id = home.create("web", {"die-after-lease"});
  const std::string log = home.paths().shim_log(id);
  std::ofstream(log) << "words of an earlier start\n";
  EXPECT_FALSE(home.run({"start", "web"}).ok());
  EXPECT_THAT(home.status("web"), StartsWith("failed: crashed"));
  EXPECT_THAT(home.status("web"), testing::Not(HasSubstr("words of an earlier start")));
  EXPECT_EQ(*read_file(log + ".1", 1024), "words of an earlier start\n") << "kept for who looks";
  remove_all(home);
}

TEST(StartTest, ABoxWhoseStateCannotBeReadRunsIfItsShimAnswers) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  ASSERT_TRUE(home.run({"start", "web"}).ok());
  for (const char* broken : {"", "{\"phase\":"}) {
    std::ofstream(home.paths().state(id)) << broken;
    EXPECT_EQ(home.status("web"), "running");
    EXPECT_EQ(home.run({"ls"}).output, "web running\n");
    EXPECT_TRUE(home.run({"start", "web"}).ok()) << "it runs already";
  }
  EXPECT_EQ(home.rows().front().generation, 1U);
  remove_all(home);
}

TEST(StartTest, AFailureThatTheShimReportsIsTheErrorAndTheStatus) {
  const TestHome home;
  home.create("web", {"fail"});
  EXPECT_EQ(home.run({"start", "web"}).output, "start box web: the VM did not like it\n");
  ASSERT_TRUE(eventually([&] { return home.status("web") == "failed: the VM did not like it"; }));
  remove_all(home);
}

TEST(StartTest, AMissingShimLeavesTheBoxAsItWas) {
  const TestHome home;
  home.create("web", {"run"});
  std::filesystem::remove(home.root() + "/libexec/boxlite-shim");
  EXPECT_THAT(home.run({"start", "web"}).output, HasSubstr("boxlite-shim is not in BOXLITE_LIBEXEC_DIR="));
  EXPECT_EQ(home.status("web"), "created");
}

TEST(StartTest, AMissingQemuNamesThePackage) {
  const TestHome home;
  home.create("web", {"run"});
  std::filesystem::remove(home.root() + "/path/qemu-system-x86_64");
  EXPECT_THAT(home.run({"start", "web"}).output, HasSubstr("qemu-system-x86"));
  EXPECT_EQ(home.status("web"), "created");
}

TEST(StartTest, ABoxThatRemovesItselfIsGoneWhenItCouldNotStart) {
  const TestHome home;
  home.create("web", {"die-before-lease"}, true);
  EXPECT_FALSE(home.run({"start", "web"}).ok());
  EXPECT_THAT(home.box_files(), IsEmpty());
}

class StarterKilledTest : public testing::TestWithParam<const char*> {};

TEST_P(StarterKilledTest, TheNextCommandTellsTheTruthAndStartAndRemoveWork) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  EXPECT_EQ(home.run({"start", "web"}, std::string(GetParam()) + "=kill9").status.signal, SIGKILL);
  const bool had_configuration = std::string_view(GetParam()) != "start.intent" && std::string_view(GetParam()) != "start.spawn";
  if (had_configuration) {
    // The shim has all it needs: it is only a matter of time.
    EXPECT_TRUE(eventually([&] { return home.status("web") == "running"; }));
  } else {
    EXPECT_EQ(home.status("web"), "failed: its start was interrupted");
  }
  EXPECT_TRUE(home.run({"start", "web"}).ok());
  EXPECT_EQ(home.status("web"), "running");
  EXPECT_EQ(home.rows().front().generation, had_configuration ? 1U : 2U);
  remove_all(home);
}

TEST_P(StarterKilledTest, ForcedRemovalLeavesNothing) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  EXPECT_EQ(home.run({"start", "web"}, std::string(GetParam()) + "=kill9").status.signal, SIGKILL);
  EXPECT_TRUE(home.run({"rm-f", "web"}).ok());
  // A shim that was still on its way finds no row and takes its lock file along.
  EXPECT_TRUE(eventually([&] { return home.box_files().empty(); }));
  EXPECT_FALSE(probe_lease(home.paths(), id)->held);
}

INSTANTIATE_TEST_SUITE_P(AtEveryStep, StarterKilledTest,
                         testing::Values("start.intent", "start.spawn", "start.config", "start.lease", "start.running"),
                         [](const auto& instance) { return std::string(instance.param).replace(5, 1, "_"); });

TEST(StartTest, WhileAStarterIsAtWorkTheBoxIsStarting) {
  const TestHome home;
  home.create("web", {"run"});
  ChildProcess starter = home.launch({"start", "web"}, -1, "start.intent=stop");
  ASSERT_TRUE(eventually([&] { return is_stopped(starter.pid()); }));
  EXPECT_EQ(home.status("web"), "starting");
  ASSERT_TRUE(starter.kill(SIGCONT));
  EXPECT_EQ(starter.wait()->code, 0);
  EXPECT_EQ(home.status("web"), "running");
  remove_all(home);
}

TEST(StartTest, AShimOfAStartThatWasOvertakenEndsWithoutTouchingTheBox) {
  const TestHome home;
  const std::string gate = home.root() + "/gate";
  make_fifo(gate);
  const std::string id = home.create("web", {"gate", gate, "then", "run"});
  // The first starter dies when its shim has the configuration; that shim waits at the gate, without the lease.
  EXPECT_EQ(home.run({"start", "web"}, "start.config=kill9").status.signal, SIGKILL);
  EXPECT_EQ(home.status("web"), "failed: its start was interrupted");
  ChildProcess second = home.launch({"start", "web"});
  ASSERT_TRUE(eventually([&] { return home.rows().front().generation == 2; }));
  // Both are let through: one of them is of generation 2.
  ASSERT_TRUE(eventually([&] {
    open_gate(gate);
    return second.try_wait()->has_value();
  }));
  const LeaseState lease = *probe_lease(home.paths(), id);
  EXPECT_TRUE(lease.held);
  EXPECT_EQ(lease.record->generation, 2U);
  EXPECT_EQ(home.status("web"), "running");
  remove_all(home);
}

TEST(StopTest, AShimThatDoesNotAnswerIsUnresponsiveAndEndedByStop) {
  const TestHome home;
  const std::string id = home.create("web", {"mute"});
  ASSERT_TRUE(home.run({"start", "web"}).ok());
  EXPECT_THAT(home.status("web"), StartsWith("unresponsive: "));
  const auto before = std::chrono::steady_clock::now();
  EXPECT_THAT(home.run({"ls"}).output, StartsWith("web unresponsive"));
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(30));
  EXPECT_TRUE(home.run({"stop", "web", "0"}).ok());
  EXPECT_EQ(home.status("web"), "stopped 137: killed by stop: its shim did not answer");
  remove_all(home);
}

TEST(StopTest, AStoppedShimIsToldAtOnce) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  ASSERT_TRUE(home.run({"start", "web"}).ok());
  const UniqueFd shim = home.shim(id);
  ASSERT_TRUE(signal_process(shim.get(), SIGSTOP));
  ASSERT_TRUE(eventually([&] { return home.status("web").starts_with("unresponsive"); }));
  ASSERT_TRUE(signal_process(shim.get(), SIGCONT));
  EXPECT_TRUE(eventually([&] { return home.status("web") == "running"; }));
  remove_all(home);
}

TEST(StopTest, ABoxWhoseLeaseRecordWasEmptiedCanBeStoppedAndRemoved) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  for (const char* end : {"stop", "rm-f"}) {
    ASSERT_TRUE(home.run({"start", "web"}).ok());
    std::filesystem::resize_file(home.paths().lease(id), 0);
    const CommandResult ended = home.run({end, "web", "10"});
    EXPECT_TRUE(ended.ok()) << ended.output;
    EXPECT_FALSE(probe_lease(home.paths(), id)->held);
  }
  EXPECT_THAT(home.box_files(), IsEmpty());
}

TEST(StopTest, SignalsNeedARunningBox) {
  const TestHome home;
  home.create("web", {"run"});
  EXPECT_EQ(home.run({"kill", "web"}).output, "box web is not running; start it: boxlite start web\n");
  EXPECT_EQ(home.run({"wait", "web"}).output, "0\n");
  ASSERT_TRUE(home.run({"start", "web"}).ok());
  EXPECT_TRUE(home.run({"kill", "web"}).ok());
  remove_all(home);
}

TEST(StopTest, ARemovalOvertakesAStopThatWaits) {
  const TestHome home;
  const std::string id = home.create("web", {"mute"});
  ASSERT_TRUE(home.run({"start", "web"}).ok());
  ChildProcess stop = home.launch({"stop", "web", "600"});
  ASSERT_TRUE(eventually([&] { return has_open(stop.pid(), "anon_inode:[pidfd]"); })) << "it knows the shim";
  EXPECT_TRUE(home.run({"rm-f", "web"}).ok());
  EXPECT_EQ(stop.wait()->code, 0);
  EXPECT_THAT(home.box_files(), IsEmpty());
}

TEST(GetTest, ABoxIsFoundByIdNameAndUniqueBeginning) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  EXPECT_EQ(home.status(id), "created");
  EXPECT_EQ(home.status(id.substr(0, 6)), "created");
  EXPECT_EQ(home.status("nothing"), "no box named nothing; `boxlite ls -a` lists them");
}

}  // namespace
}  // namespace boxlite

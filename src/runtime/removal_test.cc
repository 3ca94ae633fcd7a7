// Every command is a process of its own (test_home.h); kill9 ends it at a failpoint.
#include "runtime/removal.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/ofd_lock.h"
#include "runtime/lease.h"
#include "runtime/process_tree.h"
#include "runtime/test_home.h"

namespace boxlite {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

TEST(RemovalTest, NothingOfARemovedBoxStays) {
  const TestHome home;
  home.create("web", {"run"});
  EXPECT_TRUE(home.run({"rm", "web"}).ok());
  EXPECT_THAT(home.box_files(), IsEmpty());
  EXPECT_THAT(home.rows(), IsEmpty());
  EXPECT_THAT(home.run({"rm", "web"}).output, HasSubstr("no box named web"));
}

class RemovalKilledTest : public testing::TestWithParam<const char*> {};

TEST_P(RemovalKilledTest, IsFinishedByTheSameCommandGivenAgain) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  EXPECT_EQ(home.run({"rm", "web"}, std::string(GetParam()) + "=kill9").status.signal, SIGKILL);
  (void)home.run({"rm", "web"});  // after the row is gone the name is not found: see the next test
  EXPECT_THAT(home.rows(), IsEmpty());
  home.create("other", {"run"});
  EXPECT_TRUE(home.run({"rm", "other"}).ok());
  EXPECT_THAT(home.box_files(), IsEmpty());
}

TEST_P(RemovalKilledTest, IsFinishedByTheNextCreationAndTheNameIsFree) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  EXPECT_EQ(home.run({"rm", "web"}, std::string(GetParam()) + "=kill9").status.signal, SIGKILL);
  const std::string second = home.create("web", {"run"});
  EXPECT_NE(second, id);
  for (const std::string& file : home.box_files()) EXPECT_THAT(file, testing::Not(HasSubstr(id)));
}

TEST_P(RemovalKilledTest, AStartMeanwhileFinishesTheRemovalInsteadOfStarting) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  EXPECT_EQ(home.run({"rm", "web"}, std::string(GetParam()) + "=kill9").status.signal, SIGKILL);
  EXPECT_FALSE(home.run({"start", id}).ok());
  EXPECT_FALSE(probe_lease(home.paths(), id)->held);
  EXPECT_THAT(home.rows(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(AtEveryStep, RemovalKilledTest,
                         testing::Values("remove.intent", "remove.rename", "remove.row", "remove.files"),
                         [](const auto& instance) { return std::string(instance.param).replace(6, 1, "_"); });

TEST(RemovalTest, AnInterruptedRemovalIsToldByStatus) {
  const TestHome home;
  home.create("web", {"run"});
  (void)home.run({"rm", "web"}, "remove.rename=kill9");
  EXPECT_EQ(home.status("web"), "failed: its removal was interrupted; `boxlite rm web` finishes it");
}

TEST(RemovalTest, ARunningBoxIsRefusedWithoutForceAndGoesWithIt) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  ASSERT_TRUE(home.run({"start", "web"}).ok());
  const CommandResult refused = home.run({"rm", "web"});
  EXPECT_FALSE(refused.ok());
  EXPECT_THAT(refused.output, HasSubstr("boxlite rm -f web"));
  EXPECT_EQ(home.status("web"), "running");
  const UniqueFd shim = home.shim(id);
  EXPECT_TRUE(home.run({"rm-f", "web"}).ok());
  EXPECT_TRUE(*wait_process_end(shim.get(), std::chrono::milliseconds(0)));
  EXPECT_THAT(home.box_files(), IsEmpty());
}

TEST(RemovalTest, AStoppedShimIsRemovedByForce) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  ASSERT_TRUE(home.run({"start", "web"}).ok());
  const UniqueFd shim = home.shim(id);
  ASSERT_TRUE(signal_process(shim.get(), SIGSTOP));
  ASSERT_TRUE(eventually([&] { return home.status("web").starts_with("unresponsive"); }));
  EXPECT_TRUE(home.run({"rm-f", "web"}).ok());
  EXPECT_THAT(home.box_files(), IsEmpty());
}

TEST(RemovalTest, WaitsForTheLastProcessOfTheVm) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  auto vm = OfdLock::try_acquire(home.paths().vm_lock(id));
  ASSERT_TRUE(*vm);
  ChildProcess removal = home.launch({"rm", "web"});
  ASSERT_TRUE(eventually([&] { return *OfdLock::held(home.paths().lease(id)); }));
  EXPECT_FALSE(*removal.try_wait());
  EXPECT_TRUE(std::filesystem::exists(home.paths().box(id)));
  (*vm)->release();
  EXPECT_EQ(removal.wait()->code, 0);
  EXPECT_THAT(home.box_files(), IsEmpty());
}

TEST(RemovalTest, ABoxThatRemovesItselfLeavesNothingAndItsExitCodeReachesTheWaiter) {
  const TestHome home;
  const std::string id = home.create("web", {"run"}, true);
  ASSERT_TRUE(home.run({"start", "web"}).ok());
  sys::Pipe output = *sys::pipe();
  ChildProcess waiter = home.launch({"wait", "web"}, output.write_end.get());
  output.write_end.reset();
  ASSERT_TRUE(eventually([&] { return has_open(waiter.pid(), home.paths().lease(id)); })) << "it watches";
  EXPECT_TRUE(home.run({"stop", "web", "10"}).ok());
  EXPECT_EQ(waiter.wait()->code, 0);
  std::array<std::byte, 16> text = {};
  EXPECT_EQ(*sys::read_full(output.read_end.get(), text), 2U);
  EXPECT_EQ(text[0], std::byte{'7'});
  EXPECT_THAT(home.box_files(), IsEmpty());
}

// Moves a home to a file system of its own, of 24 MiB, for as long as this lives. Only root can.
class SmallDisk {
 public:
  explicit SmallDisk(const TestHome& home) : home_(home.paths().home()) {
    constexpr auto kRecursive = std::filesystem::copy_options::recursive;
    const std::string copy = home.root() + "/copy";
    std::filesystem::copy(home_, copy, kRecursive);
    // Private first: the mount must not be seen outside this process and its children.
    mounted_ = ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               ::mount("tmpfs", home_.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=24m,mode=0700") == 0;
    if (mounted_) std::filesystem::copy(copy, home_, kRecursive);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) ::umount2(home_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

  /// Appends to the file until there is not a page left.
  static void fill(const std::string& path) {
    const UniqueFd file = *sys::open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    while (sys::write_all(file.get(), std::string(4096, 'x'))) {
    }
  }

 private:
  std::string home_;
  bool mounted_ = false;
};

TEST(RemovalTest, ABoxThatHasFilledTheDiskCanBeRemovedWhileItRuns) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  const SmallDisk disk(home);
  if (!disk.mounted()) GTEST_SKIP() << "mounting needs root";
  ASSERT_TRUE(home.run({"start", "web"}).ok());
  SmallDisk::fill(home.paths().disk(id));
  const CommandResult removed = home.run({"rm-f", "web"});
  EXPECT_TRUE(removed.ok()) << removed.output;
  EXPECT_THAT(home.box_files(), IsEmpty());
  EXPECT_THAT(home.rows(), IsEmpty());
}

TEST(RemovalTest, ABoxThatHasFilledTheDiskCanBeRemovedWhenItIsStopped) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  const SmallDisk disk(home);
  if (!disk.mounted()) GTEST_SKIP() << "mounting needs root";
  const Database other = home.database();  // of another command: what SQLite keeps beside the file exists already
  SmallDisk::fill(home.paths().disk(id));
  const CommandResult removed = home.run({"rm", "web"});
  EXPECT_TRUE(removed.ok()) << removed.output;
  EXPECT_THAT(home.box_files(), IsEmpty());
}

class CreationKilledTest : public testing::TestWithParam<const char*> {};

TEST_P(CreationKilledTest, LeavesAWholeBoxOrNothingAfterTheNextCommand) {
  const TestHome home;
  const bool has_row = std::string_view(GetParam()) == "create.row";
  EXPECT_EQ(home.run({"create", "web", "run"}, std::string(GetParam()) + "=kill9").status.signal, SIGKILL);
  EXPECT_EQ(home.rows().size(), has_row ? 1U : 0U);
  if (has_row) {
    EXPECT_EQ(home.status("web"), "created");
    EXPECT_TRUE(home.run({"start", "web"}).ok());
    EXPECT_TRUE(home.run({"rm-f", "web"}).ok());
  }
  home.create("other", {"run"});
  EXPECT_TRUE(home.run({"rm", "other"}).ok());
  EXPECT_THAT(home.box_files(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(AtEveryStep, CreationKilledTest, testing::Values("create.dir", "create.row"),
                         [](const auto& instance) { return std::string(instance.param).replace(6, 1, "_"); });

TEST(SweepTest, ACreationThatIsStillAtWorkIsLeftAlone) {
  const TestHome home;
  ChildProcess creation = home.launch({"create", "web", "run"}, -1, "create.dir=stop");
  ASSERT_TRUE(eventually([&] { return is_stopped(creation.pid()); }));
  ASSERT_FALSE(std::filesystem::is_empty(home.paths().boxes()));
  home.create("other", {"run"});
  ASSERT_TRUE(creation.kill(SIGCONT));
  EXPECT_EQ(creation.wait()->code, 0);
  EXPECT_EQ(home.status("web"), "created");
  EXPECT_TRUE(home.run({"start", "web"}).ok()) << "its directory is whole";
  EXPECT_TRUE(home.run({"rm-f", "web"}).ok());
}

TEST(CreateTest, TheSecretIsInItsFileAloneAndThatIsTheOwners) {
  const TestHome home;
  const std::string id = home.create("web", {"run"});
  int found = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(home.paths().home())) {
    if (!entry.is_regular_file()) continue;
    const std::string content = *read_file(entry.path(), 64 << 20);
    if (!content.contains("canary-value")) continue;
    ++found;
    EXPECT_EQ(entry.path(), home.paths().secrets(id));
    EXPECT_EQ(sys::stat(entry.path())->st_mode & 07777U, 0600U);
  }
  EXPECT_EQ(found, 1);
}

TEST(CreateTest, AnErrorHalfWayLeavesNothing) {
  const TestHome home;
  EXPECT_FALSE(home.run({"create", "web", "run"}, "create.dir=error").ok());
  EXPECT_THAT(home.box_files(), IsEmpty());
}

}  // namespace
}  // namespace boxlite

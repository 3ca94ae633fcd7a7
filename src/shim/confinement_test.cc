#include "shim/confinement.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>

#include "base/file.h"
#include "base/sys.h"
#include "vmm/vm_cgroup.h"

namespace boxlite::shim {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SKIP_SANITIZED GTEST_SKIP() << "the sanitizers' own system calls are not those of the product"
#else
#define SKIP_SANITIZED
#endif

// A home with two boxes, of which a process may use the first.
class ShimConfinementTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(::mkdtemp(home_.data()), nullptr);
    for (const std::string folder :
         {"/boxes", "/boxes/0123456789ab", "/boxes/ba9876543210", "/locks", "/cgroups", "/cgroups/own", "/cgroups/other"})
      ASSERT_EQ(::mkdir((home_ + folder).c_str(), 0700), 0);
    for (const std::string file : {"/boxlite.db", "/reserve", "/boxes/ba9876543210/secrets", "/locks/ba9876543210.lease"})
      ASSERT_TRUE(write_file_volatile(home_ + file, "x", 0600));
  }
  void TearDown() override { ASSERT_TRUE(remove_tree(home_)); }

  // What a confined child says: an errno, 0, or 1000 + the signal that has ended it.
  int inside(const std::function<int()>& act) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (!confine(files_in_use(HomePaths(home_), "0123456789ab", {}, home_ + "/cgroups/own"))) ::_exit(99);
      ::_exit(act());
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  int open_inside(const std::string& path, int flags) {
    return inside([&] { return ::open(path.c_str(), flags, 0600) < 0 ? errno : 0; });
  }

  std::string home_ = "/tmp/boxlite-confinement-XXXXXX";
};

TEST_F(ShimConfinementTest, FilesOfTheBoxCanBeReplacedAndRemoved) {
  const std::string file = home_ + "/boxes/0123456789ab/state.json";
  EXPECT_EQ(inside([&] {
              if (!write_file_volatile(file, "1", 0600) || !write_file_atomic(file, "2", 0600)) return 1;
              return sys::rename(file, file + ".1") && sys::unlink(file + ".1") ? 0 : 2;
            }),
            0);
  EXPECT_EQ(open_inside(home_ + "/reserve", O_WRONLY | O_CREAT), 0);
  EXPECT_EQ(open_inside("/proc/self/stat", O_RDONLY), 0);
}

TEST_F(ShimConfinementTest, AFrozenFileInTheBoxsDirectoryStaysFrozen) {
  SKIP_SANITIZED;
  const std::string frozen = home_ + "/boxes/0123456789ab/memory";
  ASSERT_TRUE(write_file_volatile(frozen, "of others too", 0444));
  EXPECT_EQ(open_inside(frozen, O_RDONLY), 0);
  EXPECT_EQ(open_inside(frozen, O_RDWR), EACCES) << "root has no right beyond the file's mode here";
  EXPECT_EQ(inside([&] {
              const int fd = ::open(frozen.c_str(), O_RDONLY | O_CLOEXEC);
              return ::fchmod(fd, 0600) < 0 ? errno : 0;
            }),
            ENOSYS);
  EXPECT_EQ(inside([&] { return ::chmod(frozen.c_str(), 0600) < 0 ? errno : 0; }), ENOSYS);
}

TEST_F(ShimConfinementTest, TheCgroupOfTheBoxIsReadAndRemovedAndNoOtherIsLookedAt) {
  if (landlock_version() == 0) GTEST_SKIP() << "no Landlock here";
  for (const std::string file : {"/cgroups/own/memory.events", "/cgroups/own/memory.max", "/cgroups/other/memory.events"})
    ASSERT_TRUE(write_file_volatile(home_ + file, "x", 0600));
  EXPECT_EQ(open_inside(home_ + "/cgroups/own/memory.events", O_RDONLY), 0);
  EXPECT_EQ(open_inside(home_ + "/cgroups/own/memory.max", O_WRONLY), EACCES);
  EXPECT_EQ(open_inside(home_ + "/cgroups/other/memory.events", O_RDONLY), EACCES);
  for (const std::string file : {"/cgroups/own/memory.events", "/cgroups/own/memory.max"}) ASSERT_TRUE(sys::unlink(home_ + file));
  EXPECT_EQ(inside([&] { return vmm::remove_cgroup(home_ + "/cgroups/own", std::chrono::seconds(0)) ? 0 : 1; }), 0);
  EXPECT_EQ(::access((home_ + "/cgroups/own").c_str(), F_OK), -1);
  EXPECT_EQ(inside([&] { return ::unlinkat(AT_FDCWD, (home_ + "/cgroups").c_str(), AT_REMOVEDIR) < 0 ? errno : 0; }), EACCES);
}

TEST_F(ShimConfinementTest, NothingElseOfTheHomeCanBeOpenedNorAnyOtherFile) {
  if (landlock_version() == 0) GTEST_SKIP() << "no Landlock here";
  for (const std::string file : {"/boxlite.db", "/boxes/ba9876543210/secrets", "/locks/ba9876543210.lease"}) {
    EXPECT_EQ(open_inside(home_ + file, O_RDONLY), EACCES) << file;
    EXPECT_EQ(open_inside(home_ + file, O_WRONLY), EACCES) << file;
  }
  EXPECT_EQ(open_inside(home_ + "/boxes/ba9876543210/new", O_WRONLY | O_CREAT), EACCES);
  EXPECT_EQ(open_inside(home_ + "/boxes", O_RDONLY | O_DIRECTORY), EACCES);
  EXPECT_EQ(open_inside("/bin/sh", O_RDONLY), EACCES);
  EXPECT_EQ(open_inside("/proc", O_RDONLY | O_DIRECTORY), EACCES);
  EXPECT_EQ(open_inside("/proc/self/comm", O_WRONLY), EACCES);
  const std::string environment = "/proc/" + std::to_string(::getpid()) + "/environ";
  EXPECT_EQ(open_inside(environment, O_RDONLY), EACCES) << "of a process outside";
  EXPECT_EQ(inside([&] { return ::unlink((home_ + "/boxes/ba9876543210/secrets").c_str()) < 0 ? errno : 0; }), EACCES);
}

TEST_F(ShimConfinementTest, NoProgramNoProcessNoSocketAndNoOthersSignals) {
  SKIP_SANITIZED;
  const auto refused = [this](std::function<long()> call) {
    return inside([call = std::move(call)] { return call() < 0 ? errno : 0; }) == ENOSYS;
  };
  EXPECT_TRUE(refused([] { return ::execl("/bin/true", "true", nullptr); }));
  EXPECT_TRUE(refused([] { return ::syscall(SYS_fork); }));
  EXPECT_TRUE(refused([] { return ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }));
  EXPECT_TRUE(refused([] { return ::syscall(SYS_clone3, nullptr, 0); }));
  EXPECT_TRUE(refused([] { return ::socket(AF_INET, SOCK_STREAM, 0); }));
  EXPECT_TRUE(refused([] { return ::socket(AF_UNIX, SOCK_STREAM, 0); }));
  EXPECT_TRUE(refused([] { return ::connect(0, nullptr, 0); }));
  EXPECT_TRUE(refused([] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }));
  EXPECT_TRUE(refused([] { return ::kill(::getppid(), 0); }));
  EXPECT_TRUE(refused([] { return ::syscall(SYS_pidfd_open, ::getppid(), 0); }));
  EXPECT_TRUE(refused([] { return ::syscall(SYS_process_vm_readv, ::getppid(), nullptr, 0, nullptr, 0, 0); }));
  EXPECT_TRUE(refused([] { return ::syscall(SYS_mount, nullptr, "/", nullptr, 0, nullptr); }));
  EXPECT_TRUE(refused([] { return ::syscall(SYS_unshare, 0); }));
  EXPECT_TRUE(refused([] { return ::syscall(SYS_bpf, 0, nullptr, 0); }));
  EXPECT_TRUE(refused([] { return ::syscall(SYS_io_uring_setup, 1, nullptr); }));
  EXPECT_TRUE(refused([] { return ::syscall(SYS_capset, nullptr, nullptr); }));
  EXPECT_TRUE(refused(
      [] { return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0; }));
  EXPECT_EQ(inside([]() -> int { ::abort(); }), 1000 + SIGABRT);
}

TEST_F(ShimConfinementTest, ChildrenAreEndedAndReaped) {
  EXPECT_EQ(inside([] { return ::waitpid(-1, nullptr, WNOHANG) < 0 ? errno : 0; }), ECHILD);
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  EXPECT_EQ(inside([&] { return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0)); }), 0);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

}  // namespace
}  // namespace boxlite::shim

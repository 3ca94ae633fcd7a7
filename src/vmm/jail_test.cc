#include "vmm/jail.h"

#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <functional>
#include <thread>

#include "base/file.h"
#include "base/sys.h"
#include "vmm/vm_filter.h"

namespace boxlite::vmm {
namespace {

using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

const VmPrograms kPrograms = {
    .qemu = "/usr/bin/qemu-system-x86_64", .bwrap = "/usr/bin/bwrap", .vm_init = "/opt/boxlite-vm-init"};

VmConfig config() {
  VmConfig config;
  config.kernel = "/home/user/kernel";
  config.initramfs = "/home/user/initramfs";
  config.base_image = "/home/user/base";
  config.overlay = "/home/user/overlay";
  return config;
}

JailPlan plan() {
  JailPlan plan;
  plan.folders = {.binds = {"/usr/lib/x86_64-linux-gnu"}, .symlinks = {{"/lib", "usr/lib"}}};
  plan.lifeline_fd = 20;
  plan.launcher_fd = 21;
  plan.lock_fd = 22;
  return plan;
}

std::vector<std::string> command(const JailPlan& plan) {
  return jail_command(plan, config(), kPrograms, {"/usr/bin/qemu", "-x"});
}

bool has_sequence(const std::vector<std::string>& argv, const std::vector<std::string>& wanted) {
  return std::search(argv.begin(), argv.end(), wanted.begin(), wanted.end()) != argv.end();
}

TEST(JailTest, EveryNamespaceIsItsOwn) {
  for (const char* option :
       {"--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"}) {
    EXPECT_THAT(command(plan()), Contains(option));
  }
  EXPECT_THAT(command(plan()), Not(Contains(HasSubstr("--share"))));
}

TEST(JailTest, EnvironmentSessionAndCapabilitiesAreNotInherited) {
  for (const char* option : {"--clearenv", "--new-session", "--as-pid-1"}) EXPECT_THAT(command(plan()), Contains(option));
  EXPECT_TRUE(has_sequence(command(plan()), {"--cap-drop", "ALL"}));
  EXPECT_THAT(command(plan()), Not(Contains("--cap-add")));
}

TEST(JailTest, NothingIsWritableAndThereIsNoProcOrSys) {
  EXPECT_THAT(command(plan()), Not(Contains(AnyOf("--bind", "--proc", "--dev-bind", "/sys", "/proc"))));
}

TEST(JailTest, LimitsFollowTheSizeOfTheBox) {
  VmConfig small = config();
  VmConfig large = config();
  small.memory_mib = 256;
  large.memory_mib = 4096;
  large.disk_bytes = small.disk_bytes + (std::uint64_t{1} << 30);
  large.cpus = small.cpus + 3;
  EXPECT_EQ(vm_limits(large).data_bytes - vm_limits(small).data_bytes, std::uint64_t{4096 - 256} << 20);
  EXPECT_GE(vm_limits(large).file_bytes - vm_limits(small).file_bytes, std::uint64_t{1} << 30);
  EXPECT_EQ(vm_limits(large).processes, vm_limits(small).processes + 3);
  EXPECT_GT(cgroup_limits(large, 0).memory_bytes, vm_limits(large).data_bytes);
  EXPECT_EQ(cgroup_limits(large, 2).processes, vm_limits(large).processes + 3 + 4);
  const auto argv = jail_command(plan(), large, kPrograms, {"/usr/bin/qemu"});
  const VmLimits limits = vm_limits(large);
  EXPECT_TRUE(has_sequence(
      argv, {std::to_string(limits.data_bytes), std::to_string(limits.file_bytes), std::to_string(limits.processes), "--"}));
  JailPlan uncounted = plan();
  uncounted.limit_processes = false;
  EXPECT_TRUE(has_sequence(command(uncounted), {"-", "--", "/usr/bin/qemu"}));
}

TEST(JailTest, TheFoldersThatAreMadeOfMemoryAreReadOnlyAndTheFilterIsInForce) {
  JailPlan filtered = plan();
  filtered.filter_fd = 23;
  EXPECT_TRUE(has_sequence(command(filtered), {"--remount-ro", "/dev", "--remount-ro", "/", "--seccomp", "23"}));
}

TEST(JailTest, DisksAreNotVisibleAndGuestFilesAreUnderFixedNames) {
  const auto argv = command(plan());
  EXPECT_THAT(argv, Not(Contains(AnyOf("/home/user/base", "/home/user/overlay"))));
  EXPECT_TRUE(has_sequence(argv, {"--ro-bind", "/home/user/kernel", kJailKernel}));
  EXPECT_TRUE(has_sequence(argv, {"--ro-bind", "/home/user/initramfs", kJailInitramfs}));
}

TEST(JailTest, TheMemoryOfATemplateIsReadOnlyButForTheVmThatMakesIt) {
  VmPrograms programs = kPrograms;
  programs.memory_guard = "/opt/guard.so";
  VmConfig vm = config();
  vm.memory_file = MemoryFile{.path = "/home/user/memory", .shared = false};
  vm.device_state = "/home/user/state";
  const auto restored = jail_command(plan(), vm, programs, {"/usr/bin/qemu"});
  EXPECT_TRUE(has_sequence(restored, {"--ro-bind", "/home/user/memory", "/boxlite/memory"}));
  EXPECT_TRUE(has_sequence(restored, {"--ro-bind", "/opt/guard.so", "/boxlite/memory-guard.so"}));
  EXPECT_TRUE(has_sequence(restored, {"--setenv", "LD_PRELOAD", "/boxlite/memory-guard.so"}));
  // Nor is there anything of what it booted from, or of its state, which is a descriptor.
  EXPECT_THAT(
      restored,
      Not(Contains(AnyOf(HasSubstr("/home/user/kernel"), HasSubstr("/home/user/initramfs"), HasSubstr("/home/user/state")))));
  vm.memory_file->shared = true;
  vm.device_state.clear();
  const auto made = jail_command(plan(), vm, programs, {"/usr/bin/qemu"});
  EXPECT_TRUE(has_sequence(made, {"--bind", "/home/user/memory", "/boxlite/memory"}));
  EXPECT_THAT(made, Not(Contains(std::string("LD_PRELOAD"))));
}

TEST(JailTest, FoldersAboveMountsCanBePassedByAnotherUid) {
  const auto argv = command(plan());
  for (const char* folder : {"/usr", "/usr/bin", "/usr/lib", "/etc", "/boxlite"}) {
    EXPECT_TRUE(has_sequence(argv, {"--perms", "0755", "--dir", folder})) << folder;
  }
}

// A bwrap that is killed half-way leaves a child that waits for ever (docs/decisions/002-no-death-signal-for-bwrap.md).
TEST(JailTest, BwrapIsNotKilledInTheMiddleOfItsWork) { EXPECT_THAT(command(plan()), Not(Contains("--die-with-parent"))); }

TEST(JailTest, PidOneIsOurInitHoldingLifelineAndLock) {
  EXPECT_TRUE(has_sequence(command(plan()), {"--", kJailVmInit, "20", "21", "22", "-", "-"}));
  EXPECT_TRUE(has_sequence(command(plan()), {"--", "/usr/bin/qemu", "-x"}));
}

TEST(JailTest, RootsBoxRunsAsItsOwnUidWithoutAUserNamespace) {
  JailPlan root = plan();
  root.user_namespace = false;
  root.uid = 4242;
  root.kvm_group = 108;
  const auto argv = command(root);
  EXPECT_THAT(argv, Not(Contains("--unshare-user")));
  EXPECT_TRUE(has_sequence(argv, {kJailVmInit, "20", "21", "22", "4242", "108"}));
  std::vector<std::string> kept;
  for (std::size_t i = 0; i + 1 < argv.size(); ++i) {
    if (argv[i] == "--cap-add") kept.push_back(argv[i + 1]);
  }
  EXPECT_THAT(kept, ElementsAre("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"));
}

TEST(JailTest, KvmsDeviceIsThereOnlyUnderKvm) {
  EXPECT_THAT(command(plan()), Not(Contains("/dev/kvm")));
  JailPlan kvm = plan();
  kvm.kvm = true;
  EXPECT_TRUE(has_sequence(command(kvm), {"--dev-bind", "/dev/kvm", "/dev/kvm"}));
}

class HostFoldersTest : public ::testing::Test {
 protected:
  void folder(const std::string& path) {
    for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
      ASSERT_TRUE(ensure_directory(root_.path() + path.substr(0, slash), 0700));
      if (slash == std::string::npos) return;
    }
  }
  void link(const std::string& path, const std::string& target) {
    ASSERT_EQ(::symlink(target.c_str(), (root_.path() + path).c_str()), 0);
  }
  HostFolders found() const { return find_host_folders("/usr/bin/qemu-system-x86_64", root_.path()); }
  TempDir root_ = *TempDir::create("/tmp", "boxlite-jail-test-");
};

TEST_F(HostFoldersTest, DebianAfterTheMergeOfUsr) {
  folder("/usr/lib/x86_64-linux-gnu");
  folder("/usr/lib64");
  folder("/usr/share/qemu");
  folder("/usr/share/seabios");
  link("/lib", "usr/lib");
  link("/lib64", "usr/lib64");
  EXPECT_THAT(found().binds, ElementsAre("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/share/qemu", "/usr/share/seabios"));
  EXPECT_THAT(found().symlinks, ElementsAre(Pair("/lib", "usr/lib"), Pair("/lib64", "usr/lib64")));
}

TEST_F(HostFoldersTest, DebianBeforeIt) {
  folder("/usr/lib/x86_64-linux-gnu");
  folder("/lib/x86_64-linux-gnu");
  folder("/lib64");
  EXPECT_THAT(found().binds, ElementsAre("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/lib64"));
}

TEST_F(HostFoldersTest, Fedora) {
  folder("/usr/lib/systemd");
  folder("/usr/lib64/qemu");
  folder("/usr/share/qemu");
  link("/lib", "usr/lib");
  link("/lib64", "usr/lib64");
  EXPECT_THAT(found().binds, ElementsAre("/usr/lib64", "/usr/share/qemu"));
}

TEST_F(HostFoldersTest, Arch) {
  folder("/usr/lib/qemu");
  link("/lib", "usr/lib");
  link("/lib64", "usr/lib");
  link("/usr/lib64", "lib");
  EXPECT_THAT(found().binds, ElementsAre("/usr/lib"));
  EXPECT_THAT(found().symlinks, ElementsAre(Pair("/lib", "usr/lib"), Pair("/lib64", "usr/lib"), Pair("/usr/lib64", "lib")));
}

TEST(JailTest, AProcessOfAnImageHasTheImageAndTheMemoryToReadAndNoKernel) {
  VmConfig image = config();
  image.memory_file = MemoryFile{.path = "/home/user/memory", .shared = false};
  image.device_state = "/home/user/state";
  image.process_image = "/home/user/image";
  VmPrograms programs = kPrograms;
  programs.vm_resume = "/opt/boxlite-vm-resume";
  const std::vector<std::string> argv = jail_command(plan(), image, programs, {kJailVmResume});
  const std::string line = fmt::format(" {} ", fmt::join(argv, " "));
  EXPECT_THAT(line, HasSubstr(" --ro-bind /home/user/image /boxlite/process-image "));
  EXPECT_THAT(line, HasSubstr(" --ro-bind /home/user/memory /boxlite/memory "));
  EXPECT_THAT(line, HasSubstr(" --ro-bind /opt/boxlite-vm-resume /boxlite/vm-resume "));
  EXPECT_THAT(line, HasSubstr(" --ro-bind /usr/bin/qemu-system-x86_64 /usr/bin/qemu-system-x86_64 "));
  EXPECT_THAT(line, Not(HasSubstr("LD_PRELOAD")));
  EXPECT_THAT(line, Not(HasSubstr("/home/user/kernel")));
}

// How a process ended that the filter is in force for: its exit status, or 128 + the signal.
int end_under_sandbox(const std::function<int()>& act) {
  const UniqueFd filter = *sandbox_filter();
  const pid_t child = ::fork();
  if (child == 0) {
    std::array<sock_filter, 4096> code = {};
    const ssize_t bytes = ::read(filter.get(), code.data(), sizeof code);
    const sock_fprog program = {static_cast<unsigned short>(static_cast<std::size_t>(bytes) / sizeof code[0]), code.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
      ::_exit(99);
    ::_exit(act());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(VmFilterTest, AQemuOfAnImageMakesThreadsAndNoProcesses) {
  EXPECT_EQ(end_under_sandbox([] {
              bool ran = false;
              std::thread([&ran] { ran = true; }).join();
              return ran ? 0 : 1;
            }),
            0);
  EXPECT_EQ(end_under_sandbox([] { return ::setpriority(PRIO_PROCESS, 0, 1) < 0 && errno == EPERM ? 0 : 1; }), 0);
  const int killed = 128 + SIGSYS;
  EXPECT_EQ(end_under_sandbox([] { return ::fork() == 0 ? 1 : 0; }), killed);
  EXPECT_EQ(end_under_sandbox([] { return static_cast<int>(::syscall(SYS_vfork)); }), killed);
  EXPECT_EQ(end_under_sandbox([] {
              const std::array<char*, 1> none = {nullptr};
              return ::execve("/bin/true", none.data(), none.data());
            }),
            killed);
  EXPECT_EQ(end_under_sandbox([] { return ::setuid(::getuid()); }), killed);
}

}  // namespace
}  // namespace boxlite::vmm

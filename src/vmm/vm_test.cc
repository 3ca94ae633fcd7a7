// Real virtual machines: needs qemu, qemu-img, bwrap and the guest kernel.
#include "vmm/vm.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>

#include "base/file.h"
#include "base/ofd_lock.h"
#include "base/sys.h"
#include "vmm/accelerator.h"
#include "vmm/host_clock.h"

namespace boxlite::vmm {
namespace {

using namespace std::chrono_literals;
constexpr auto kPatience = 120s;  // a busy machine may be slow; no test waits this long when all is well
constexpr std::uint32_t kBoxUid = 65533;

template <typename Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::poll(nullptr, 0, 5);
  }
  return true;
}

// cpio "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst): /init, /dev and /dev/console.
std::string make_initramfs(const std::string& init_program) {
  const std::string program = *read_file(init_program, 64U << 20U);
  std::string archive;
  const auto pad = [&] { archive.resize((archive.size() + 3) / 4 * 4); };
  const auto add = [&](const std::string& name, unsigned mode, std::string_view data, unsigned major, unsigned minor) {
    archive += fmt::format("070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}", 0, mode, 0, 0,
                           1, 0, data.size(), 0, 0, major, minor, name.size() + 1, 0);
    archive += name;
    archive.push_back('\0');
    pad();
    archive += data;
    pad();
  };
  add("dev", 0040755, "", 0, 0);
  add("dev/console", 0020600, "", 5, 1);
  add("init", 0100755, program, 0, 0);
  add("TRAILER!!!", 0, "", 0, 0);
  return archive;
}

class VmTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);
    ASSERT_TRUE(sys::stat(BOXLITE_TEST_KERNEL)) << BOXLITE_TEST_KERNEL << " is not built: make kernel";
    ASSERT_TRUE(write_file_volatile(path("initramfs"), make_initramfs(BOXLITE_TEST_GUEST), 0644));
    config_.kernel = BOXLITE_TEST_KERNEL;
    config_.initramfs = path("initramfs");
    config_.memory_mib = 128;
    config_.tsc_khz = *measure_tsc_khz();
    if (::geteuid() == 0) config_.uid = kBoxUid;
    auto programs = find_vm_programs(BOXLITE_TEST_VM_INIT);
    ASSERT_TRUE(programs) << programs.error().message();
    programs_ = *programs;
  }

  std::string path(const std::string& name) const { return dir_.path() + "/" + name; }

  void make_disk() {
    ASSERT_TRUE(write_file_volatile(path("base"), std::string("original") + std::string((1U << 20U) - 8, '\0'), 0600));
    auto qemu_img = ChildProcess::spawn({.program = *find_program("qemu-img"),
                                         .argv = {"qemu-img", "create", "-q", "-f", "qcow2", path("overlay"), "1M"},
                                         .environment = {}});
    ASSERT_TRUE(qemu_img);
    ASSERT_EQ(qemu_img->wait()->code, 0);
    config_.base_image = path("base");
    config_.overlay = path("overlay");
  }

  // Reads a channel until `text` was seen; everything read so far otherwise.
  static std::string read_until(int fd, std::string_view text) {
    std::string seen;
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (seen.find(text) == std::string::npos && std::chrono::steady_clock::now() < deadline) {
      if (const auto events = sys::poll_one(fd, POLLIN, 1000ms); !events || *events == 0) continue;
      std::array<std::byte, 4096> buffer;
      const auto count = sys::read(fd, buffer);
      if (!count || *count == 0) break;
      seen.append(reinterpret_cast<const char*>(buffer.data()), *count);
    }
    return seen;
  }

  // What a VM that does not do what it should has said.
  static std::string last_words(const Vm& vm) {
    std::string text;
    for (const int fd : {vm.stderr_fd(), vm.console_fd()}) {
      std::array<std::byte, 4096> buffer;
      if (const auto count = sys::read(fd, buffer)) text.append(reinterpret_cast<const char*>(buffer.data()), *count);
    }
    return text;
  }

  static std::string ask(const Vm& vm, std::string_view question, std::string_view answer) {
    EXPECT_TRUE(sys::write_all(vm.portal_fd(), question));
    return read_until(vm.portal_fd(), answer);
  }

  static pid_t only_child(pid_t pid) {
    const auto text = read_file(fmt::format("/proc/{}/task/{}/children", pid, pid), 4096);
    pid_t child = -1;
    if (text) std::from_chars(text->data(), text->data() + text->size(), child);
    return child;
  }
  // bwrap → vm-init → QEMU
  static pid_t init_of(const Vm& vm) { return only_child(vm.pid()); }
  static pid_t qemu_of(const Vm& vm) { return only_child(init_of(vm)); }

  static ExitStatus end_of(Vm& vm) {
    EXPECT_TRUE(*wait_process_end(vm.pidfd(), kPatience)) << "still running";
    return *vm.wait();
  }

  Result<Vm> launch_with_lock() {
    TRY_ASSIGN(OfdLock lock, OfdLock::acquire(path("vm.lock"), kPatience));
    TRY_ASSIGN(Vm vm, Vm::launch(config_, programs_, lock.fd()));
    lock.hand_over();
    return vm;
  }

  TempDir dir_ = *TempDir::create("/tmp", "boxlite-vm-test-");
  VmConfig config_;
  VmPrograms programs_;
};

TEST_F(VmTest, TheGuestIsReachedByPortalAndConsoleAndPowersOffByItself) {
  auto vm = Vm::launch(config_, programs_, -1);
  ASSERT_TRUE(vm) << vm.error().message();
  EXPECT_EQ(ask(*vm, "hello", "hello"), "hello") << last_words(*vm);
  EXPECT_NE(read_until(vm->console_fd(), "TEST GUEST READY").find("TEST GUEST READY"), std::string::npos);
  ASSERT_TRUE(sys::write_all(vm->portal_fd(), "Q"));
  EXPECT_EQ(end_of(*vm).code, 0);
  EXPECT_EQ(read_until(vm->qmp_fd(), "\"SHUTDOWN\"").find("QMP"), 2U);
}

TEST_F(VmTest, TheDiskIsTheOverlayAndTheBaseIsNeverWritten) {
  make_disk();
  {
    auto vm = Vm::launch(config_, programs_, -1);
    ASSERT_TRUE(vm) << vm.error().message();
    EXPECT_EQ(ask(*vm, "D", "original"), "original") << last_words(*vm);
    EXPECT_EQ(ask(*vm, "W", "ok"), "ok");
    ASSERT_TRUE(sys::write_all(vm->portal_fd(), "Q"));
    EXPECT_EQ(end_of(*vm).code, 0);
  }
  EXPECT_EQ(read_file(path("base"), 2U << 20U)->substr(0, 8), "original");
  auto again = Vm::launch(config_, programs_, -1);
  ASSERT_TRUE(again);
  EXPECT_EQ(ask(*again, "D", "written!"), "written!");
}

TEST_F(VmTest, TwoVmsCannotShareADisk) {
  make_disk();
  auto first = Vm::launch(config_, programs_, -1);
  ASSERT_TRUE(first);
  EXPECT_EQ(ask(*first, "x", "x"), "x");
  auto second = Vm::launch(config_, programs_, -1);
  ASSERT_TRUE(second);
  EXPECT_NE(end_of(*second).code, 0);
  EXPECT_NE(read_until(second->stderr_fd(), "lock").find("lock"), std::string::npos);
}

TEST_F(VmTest, NothingLivesOnWhenTheLauncherIsKilled) {
  auto ready = sys::pipe();
  const pid_t launcher = ::fork();
  ASSERT_GE(launcher, 0);
  if (launcher == 0) {
    auto vm = launch_with_lock();
    if (!vm || ask(*vm, "x", "x") != "x" || !sys::write_all(ready->write_end.get(), "r")) ::_exit(1);
    for (;;) ::pause();
  }
  ready->write_end.reset();
  std::byte byte;
  ASSERT_EQ(*sys::read(ready->read_end.get(), std::span(&byte, 1)), 1U) << "the launcher could not start its VM";
  EXPECT_TRUE(*OfdLock::held(path("vm.lock")));
  ::kill(launcher, SIGKILL);
  ::waitpid(launcher, nullptr, 0);
  EXPECT_TRUE(eventually([&] { return !*OfdLock::held(path("vm.lock")); }));
}

// The moments at which bwrap has cloned and its child does not yet watch anything are among these.
TEST_F(VmTest, NothingLivesOnWhenTheLauncherIsKilledWhileTheJailIsMade) {
  for (int delay_ms = 0; delay_ms < 40; ++delay_ms) {
    auto launched = sys::pipe();
    const pid_t launcher = ::fork();
    ASSERT_GE(launcher, 0);
    if (launcher == 0) {
      auto vm = launch_with_lock();
      if (!vm || !sys::write_all(launched->write_end.get(), "l")) ::_exit(1);
      for (;;) ::pause();
    }
    launched->write_end.reset();
    std::byte byte;
    ASSERT_EQ(*sys::read(launched->read_end.get(), std::span(&byte, 1)), 1U);
    ::poll(nullptr, 0, delay_ms);  // not a wait for something: the moment of the kill is what is tried
    ::kill(launcher, SIGKILL);
    ::waitpid(launcher, nullptr, 0);
    ASSERT_TRUE(eventually([&] { return !*OfdLock::held(path("vm.lock")); })) << delay_ms << " ms";
  }
}

TEST_F(VmTest, NothingLivesOnWhenTheObjectGoes) {
  {
    auto vm = launch_with_lock();
    ASSERT_TRUE(vm) << vm.error().message();
    EXPECT_EQ(ask(*vm, "x", "x"), "x");
    EXPECT_TRUE(*OfdLock::held(path("vm.lock")));
  }
  EXPECT_FALSE(*OfdLock::held(path("vm.lock")));
}

TEST_F(VmTest, AKilledMiddleProcessTakesTheRestWithIt) {
  for (const int victim : {0, 1, 2}) {
    auto vm = launch_with_lock();
    ASSERT_TRUE(vm) << vm.error().message();
    EXPECT_EQ(ask(*vm, "x", "x"), "x");
    ::kill(victim == 0 ? vm->pid() : victim == 1 ? init_of(*vm) : qemu_of(*vm), SIGKILL);
    EXPECT_EQ(end_of(*vm).signal, SIGKILL) << victim;
    EXPECT_TRUE(eventually([&] { return !*OfdLock::held(path("vm.lock")); })) << victim;
  }
}

TEST_F(VmTest, APanickingGuestEndsTheVm) {
  auto vm = Vm::launch(config_, programs_, -1);
  ASSERT_TRUE(vm);
  ASSERT_TRUE(sys::write_all(vm->portal_fd(), "P"));
  // To the end before waiting: QEMU writes the console byte by byte, some 280 of which fill a socket, and then the guest crawls.
  const std::string console = read_until(vm->console_fd(), "(never)");
  EXPECT_EQ(end_of(*vm).code, 0);
  EXPECT_NE(console.find("Kernel panic"), std::string::npos) << console;
}

TEST_F(VmTest, AHangingGuestIsSeenByItsCpuTime) {
  auto vm = Vm::launch(config_, programs_, -1);
  ASSERT_TRUE(vm);
  EXPECT_EQ(ask(*vm, "x", "x"), "x");
  ASSERT_TRUE(sys::write_all(vm->portal_fd(), "H"));
  const std::uint64_t before = *vm->cpu_time_ms();
  EXPECT_GT(before, 0U);
  EXPECT_TRUE(eventually([&] { return *vm->cpu_time_ms() >= before + 200; }));
}

TEST_F(VmTest, QemuHasNoPrivilegeNoNamespaceOfTheHostAndNoOtherFile) {
  auto vm = Vm::launch(config_, programs_, -1);
  ASSERT_TRUE(vm);
  EXPECT_EQ(ask(*vm, "x", "x"), "x");
  const pid_t qemu = qemu_of(*vm);
  const std::string status = *read_file(fmt::format("/proc/{}/status", qemu), 65536);
  for (const char* line : {"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
                           "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"}) {
    EXPECT_NE(status.find(line), std::string::npos) << line << " not in\n" << status;
  }
  if (::geteuid() == 0) {
    EXPECT_NE(status.find(fmt::format("Uid:\t{0}\t{0}\t{0}\t{0}\n", kBoxUid)), std::string::npos) << status;
    EXPECT_NE(status.find(fmt::format("Gid:\t{0}\t{0}\t{0}\t{0}\n", kBoxUid)), std::string::npos) << status;
    EXPECT_NE(status.find("Groups:\t \n"), std::string::npos) << status;
    const std::string init = *read_file(fmt::format("/proc/{}/status", init_of(*vm)), 65536);
    EXPECT_NE(init.find("CapPrm:\t0000000000000000"), std::string::npos) << init;
    EXPECT_NE(init.find("CapBnd:\t0000000000000000"), std::string::npos) << init;
  }
  for (const char* kind : {"pid", "mnt", "net", "ipc", "uts"}) {
    EXPECT_NE(sys::stat(fmt::format("/proc/{}/ns/{}", qemu, kind))->st_ino,
              sys::stat(fmt::format("/proc/self/ns/{}", kind))->st_ino)
        << kind;
  }
  for (const char* absent : {"/proc/self", "/sys/kernel", "/etc/passwd", "/home", "/tmp", "/usr/bin/sh"}) {
    EXPECT_FALSE(sys::stat(fmt::format("/proc/{}/root{}", qemu, absent))) << absent;
  }
}

TEST_F(VmTest, WhatBwrapComplainsAboutIsKept) {
  config_.kernel = path("absent");
  auto vm = Vm::launch(config_, programs_, -1);
  ASSERT_TRUE(vm);
  EXPECT_NE(end_of(*vm).code, 0);
  EXPECT_NE(read_until(vm->stderr_fd(), "absent").find(path("absent")), std::string::npos);
}

TEST_F(VmTest, AMissingProgramNamesItsPackage) {
  const std::string before = ::getenv("PATH");
  ::setenv("PATH", dir_.path().c_str(), 1);
  const auto programs = find_vm_programs(BOXLITE_TEST_VM_INIT);
  ::setenv("PATH", before.c_str(), 1);
  ASSERT_FALSE(programs);
  EXPECT_EQ(programs.error().code(), ErrorCode::kNotFound);
  EXPECT_NE(programs.error().message().find("qemu-system-x86"), std::string::npos);
}

TEST_F(VmTest, AnAcceleratorThatDoesNotBootIsNotChosenAndTheAnswerIsRemembered) {
  // The test guest is no agent: it echoes the epoch header, whose sender is the host, and so proves nothing.
  const auto choice = choose_accelerator(config_, programs_, path("memo"));
  ASSERT_TRUE(choice) << choice.error().message();
  EXPECT_EQ(choice->accelerator, Accelerator::kTcg);
  EXPECT_FALSE(choice->reason.empty());
  RecordProperty("reason", choice->reason);
  const auto again = choose_accelerator(config_, programs_, path("memo"));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->reason, choice->reason);
}

}  // namespace
}  // namespace boxlite::vmm

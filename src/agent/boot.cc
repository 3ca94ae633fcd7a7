#include "agent/boot.h"

#include <fcntl.h>
#include <linux/reboot.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "agent/cgroup.h"
#include "base/file.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

Result<void> mount(const char* type, const std::string& target, unsigned long flags, const char* options) {
  if (::mount(type, target.c_str(), type, flags, options) < 0) return fail_errno("mount {} on {}", type, target);
  return {};
}

// The initramfs is the kernel's rootfs: pivot_root refuses it, and so a container made below it could not leave it behind. So a
// tmpfs is moved over it; container roots pivot away from that. The agent's program file stays below, where no path leads, and
// its file system turns read-only: whoever runs next to an agent process and opens its /proc/<pid>/exe has something nobody can
// write.
Result<void> leave_initramfs() {
  const std::string root = "/agent";
  TRY(sys::mkdir(root, 0755));
  TRY(mount("tmpfs", root, 0, "mode=755,size=4m"));
  for (const char* name : {"/proc", "/sys", "/dev", kRootMount, kScratch}) TRY(sys::mkdir(root + name, 0755));
  TRY(mount("proc", root + "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr));
  TRY(mount("sysfs", root + "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr));
  TRY(mount("devtmpfs", root + "/dev", MS_NOSUID | MS_NOEXEC, "mode=755"));
  if (::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_RDONLY, nullptr) < 0) return fail_errno("remount the initramfs");
  if (::chdir(root.c_str()) < 0) return fail_errno("chdir {}", root);
  if (::mount(".", "/", nullptr, MS_MOVE, nullptr) < 0) return fail_errno("move {} to /", root);
  if (::chroot(".") < 0 || ::chdir("/") < 0) return fail_errno("chroot {}", root);
  return {};
}

Result<void> open_console() {
  if (::fcntl(STDERR_FILENO, F_GETFD) >= 0) return {};  // the kernel has opened it for us
  TRY_ASSIGN(UniqueFd console, sys::open("/dev/console", O_RDWR | O_NOCTTY));
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) {
    if (console.get() != fd) ::dup2(console.get(), fd);
  }
  if (console.get() <= STDERR_FILENO) (void)console.release();
  return {};
}

// The kernel waits for RCU when a process changes its cgroup, a mount goes, a namespace ends: 10 to 30 ms each for nothing in a
// VM of few CPUs. Expedited they take microseconds.
Result<void> hurry_rcu() {
  TRY_ASSIGN(const UniqueFd fd, sys::open("/sys/kernel/rcu_expedited", O_WRONLY));
  return sys::write_all(fd.get(), "1");
}

Result<void> raise_loopback() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("socket");
  ifreq request = {};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) < 0) return fail_errno("raise lo");
  return {};
}

}  // namespace

Result<void> boot() {
  ::umask(022);
  // Children of the agent are not to be looked into before they have become the user's command.
  if (::prctl(PR_SET_DUMPABLE, 0) < 0) return fail_errno("PR_SET_DUMPABLE");
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2, SIGQUIT}) std::signal(signal, SIG_IGN);
  TRY(leave_initramfs());
  TRY(open_console());
  TRY(hurry_rcu());
  TRY(raise_loopback());
  return mount_root_cgroup();
}

void say(std::string_view text) {
  const std::string line = fmt::format("boxlite-agent: {}\n", text);
  (void)sys::write_all(STDERR_FILENO, line);
}

void power_off() {
  // With the kernel parameter reboot=t a restart is a triple fault, and that ends a QEMU run with -no-reboot: it works on every
  // machine type, where a real power-off needs a device.
  ::reboot(RB_AUTOBOOT);
  for (;;) ::pause();
}

}  // namespace boxlite::agent

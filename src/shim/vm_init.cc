// boxlite-vm-init: PID 1 of the jail around QEMU.
//
//   boxlite-vm-init LIFELINE LAUNCHER LOCK UID GROUP DATA FILE PROCESSES -- QEMU ARGUMENT…
//
//   LIFELINE  descriptor of a pipe whose write end only the shim holds
//   LAUNCHER  pidfd of the shim
//   LOCK      descriptor of the VM's lock, or -1: kept open here and in QEMU, so the lock is held while either lives
//   UID       what QEMU runs as (uid and gid), or -: as it is
//   GROUP     one supplementary group for QEMU, or -
//   DATA, FILE, PROCESSES  QEMU's limits (vmm/jail.h, VmLimits); PROCESSES may be -
//
// It makes sure that nothing of the jail outlives the shim, by two mechanisms that do not depend on each other: the lifeline is
// at its end, or the pidfd says so; this process exits, and with PID 1 the kernel kills everything in the PID namespace. It also
// exits, with QEMU's status, when QEMU ends, and is killed when bwrap above it is.
//
// Why not parent-death signals all the way down: such a signal follows a thread, is not delivered across a change of uid, and
// kills bwrap in the middle of its work. A bwrap that dies between its clone() and its word to the child that it may go on leaves
// that child waiting for ever, as PID 1 of its namespace and with the VM's lock and disk
// (docs/decisions/002-no-death-signal-for-bwrap.md). So a bwrap whose shim has died finishes its work, and then this process,
// finding both mechanisms fired, ends it.
//
// QEMU is started by a child that drops to UID; this process stays what it was (in a jail of root's: uid 0 without any
// capability) so that an escaped QEMU can neither signal nor trace it, and the death signal from bwrap above still reaches it.
// Static and without allocation: it starts with every box, and stays.

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr int kFailed = 125;  // our own failures, as docker's "the runtime failed"

constexpr long kMaxDescriptors = 1024;  // QEMU has about twenty

[[noreturn]] void die(const char* what) {
  const char* reason = strerror(errno);
  const char* parts[] = {"boxlite-vm-init: ", what, ": ", reason, "\n"};
  for (const char* part : parts) (void)!write(STDERR_FILENO, part, strlen(part));
  _exit(kFailed);
}

long parse_number(const char* text, const char* what) {
  char* end = nullptr;
  errno = 0;
  const long value = strtol(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0') {
    errno = EINVAL;
    die(what);
  }
  return value;
}

// Takes a capability itself, so it comes before all other drops. EPERM: bwrap has left us none, and the set is empty already.
void empty_bounding_set() {
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EPERM) die("drop bounding set");
  }
}

void drop_capabilities() {
  (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  if (syscall(SYS_capset, &header, none) < 0) die("drop capabilities");
}

void become(long uid, long group) {
  const auto id = static_cast<uid_t>(uid);
  const auto supplementary = static_cast<gid_t>(group);
  if (setgroups(group >= 0 ? 1 : 0, &supplementary) < 0) die("setgroups");
  if (setresgid(id, id, id) < 0) die("setresgid");
  if (setresuid(id, id, id) < 0) die("setresuid");
}

void limit(int resource, long most) {
  const auto value = static_cast<rlim_t>(most);
  rlimit now = {};
  if (getrlimit(static_cast<__rlimit_resource>(resource), &now) < 0) die("getrlimit");
  const rlim_t lower = value < now.rlim_max ? value : now.rlim_max;
  const rlimit both = {lower, lower};
  if (setrlimit(static_cast<__rlimit_resource>(resource), &both) < 0) die("setrlimit");
}

struct Limits {
  long data;
  long file;
  long processes;
};

[[noreturn]] void run_qemu(char** argv, const Limits& limits, long uid, long group, int lifeline, int launcher,
                           const sigset_t& mask) {
  empty_bounding_set();
  if (uid >= 0) become(uid, group);
  drop_capabilities();
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) die("no_new_privs");
  // After the change of uid, which clears it. PID 1 cannot have died unnoticed before this line: we would have died with it.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) die("parent-death signal");
  limit(RLIMIT_CORE, 0);  // a core dump would hold the guest's memory
  limit(RLIMIT_DATA, limits.data);
  limit(RLIMIT_FSIZE, limits.file);
  if (limits.processes >= 0) limit(RLIMIT_NPROC, limits.processes);
  limit(RLIMIT_NOFILE, kMaxDescriptors);
  close(lifeline);
  close(launcher);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  execv(argv[0], argv);
  die(argv[0]);
}

// Only what this process needs stays open: a copy of QEMU's sockets here would hide QEMU's end from the other side.
void close_all_but(const int (&keep)[4]) {
  for (unsigned first = 3; first != 0;) {
    unsigned next = ~0U;
    for (const int fd : keep) {
      if (fd >= 0 && static_cast<unsigned>(fd) >= first && static_cast<unsigned>(fd) < next) next = static_cast<unsigned>(fd);
    }
    if (next > first) syscall(SYS_close_range, first, next == ~0U ? ~0U : next - 1, 0);
    first = next == ~0U ? 0 : next + 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 11 || strcmp(argv[9], "--") != 0) {
    errno = EINVAL;
    die("usage: boxlite-vm-init LIFELINE LAUNCHER LOCK UID GROUP DATA FILE PROCESSES -- QEMU ARGUMENT...");
  }
  const int lifeline = static_cast<int>(parse_number(argv[1], "LIFELINE"));
  const int launcher = static_cast<int>(parse_number(argv[2], "LAUNCHER"));
  const int lock = static_cast<int>(parse_number(argv[3], "LOCK"));
  const long uid = strcmp(argv[4], "-") == 0 ? -1 : parse_number(argv[4], "UID");
  const long group = strcmp(argv[5], "-") == 0 ? -1 : parse_number(argv[5], "GROUP");
  const Limits limits = {parse_number(argv[6], "DATA"), parse_number(argv[7], "FILE"),
                         strcmp(argv[8], "-") == 0 ? -1 : parse_number(argv[8], "PROCESSES")};
  // From bwrap. Had it died before this line, the two descriptors below would still tell of the shim.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) die("parent-death signal");

  sigset_t child_signal;
  sigset_t before;
  sigemptyset(&child_signal);
  sigaddset(&child_signal, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child_signal, &before);
  const int children = signalfd(-1, &child_signal, SFD_CLOEXEC);
  if (children < 0) die("signalfd");

  const pid_t qemu = fork();
  if (qemu < 0) die("fork");
  if (qemu == 0) run_qemu(argv + 10, limits, uid, group, lifeline, launcher, before);

  empty_bounding_set();
  drop_capabilities();
  close_all_but({lifeline, launcher, lock, children});
  for (;;) {
    pollfd waiting[3] = {{lifeline, POLLIN, 0}, {launcher, POLLIN, 0}, {children, POLLIN, 0}};
    if (poll(waiting, 3, -1) < 0 && errno != EINTR) die("poll");
    if (waiting[0].revents != 0 || waiting[1].revents != 0) return 128 + SIGKILL;
    if (waiting[2].revents == 0) continue;
    signalfd_siginfo ignored;
    (void)!read(children, &ignored, sizeof ignored);
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (pid == qemu) return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
  }
}

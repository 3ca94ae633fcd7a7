// Theory of operation.
//
// A shim reads what its guest and its network process write: link, console, a few lines of JSON. Whoever finds a hole in that
// would have everything of the user that boxlite runs as. So before the first byte of it is read, the shim gives up what it
// has no use for any more. It has started every process of the box by then, and starts none later: what must be done at the
// box's end that this forbids, its removal, is done by a process made before (remover.h).
//
// It keeps
//  - its descriptors: lease, listener, logs, and its ends of the channels to its children;
//  - the box's own directory, for records and logs that are replaced by rename, and the home's reserve;
//  - the CPU time of the VM's processes (/proc/<pid>/stat), while the box boots. Landlock keeps what more there is of other
//    processes in /proc away by itself: it takes access to a process outside for tracing;
//  - the box's cgroup: reading its counts, and removing it at the end. To remove one is a right to the directory it is in, so
//  those of
//    this user's other boxes could be removed as well, were there no process in them: between a start's making it and its first
//    process, and that start fails;
//  - the host's name servers, which change under a box that runs;
//  - signals by pidfd, to those children that it has pidfds of.
// Frozen files in the box's directory (checkpoint.h) are other boxes' too. They are nobody's to write, and that cannot be changed
// from here: it has no chmod.
// No program, no process, no socket of its own making, no trace, no memory that can be executed.
//
// What is not on the list fails with ENOSYS, as on a kernel that lacks it: libraries then do without it. To end the process would
// end the box for a call that a newer C library makes.
#include "shim/confinement.h"

#include <linux/capability.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <memory>

namespace boxlite::shim {
namespace {

constexpr std::array kAllowed = {
    // The loop and its channels.
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(epoll_ctl), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime), SCMP_SYS(restart_syscall), SCMP_SYS(accept4), SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(shutdown), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(close), SCMP_SYS(fcntl), SCMP_SYS(ioctl),
    // Files.
    SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(fstat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(statx),
    SCMP_SYS(statfs), SCMP_SYS(fstatfs), SCMP_SYS(access), SCMP_SYS(readlink), SCMP_SYS(lseek), SCMP_SYS(pread64),
    SCMP_SYS(pwrite64), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(truncate), SCMP_SYS(ftruncate), SCMP_SYS(fallocate),
    SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
    // Children.
    SCMP_SYS(waitid), SCMP_SYS(wait4), SCMP_SYS(pidfd_send_signal),
    // Memory, time, itself.
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(futex), SCMP_SYS(getrandom),
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(getpid),
    SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(exit), SCMP_SYS(exit_group)};

// The capability to signal is for children of another uid, which those of root's boxes have.
Result<void> drop_capabilities() {
  // Needs a capability; without it nothing can be gained either, thanks to no_new_privs.
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) break;
  }
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return fail_errno("ambient capabilities");
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> sets = {};
  if (::syscall(SYS_capget, &header, sets.data()) < 0) return fail_errno("capabilities");
  const std::uint32_t kept = sets[0].permitted & (1U << CAP_KILL);
  sets = {};
  sets[0].permitted = sets[0].effective = kept;
  if (::syscall(SYS_capset, &header, sets.data()) < 0) return fail_errno("give up capabilities");
  return {};
}

Result<void> filter_system_calls() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return {};  // the sanitizers' own calls are others
#endif
  const std::unique_ptr<void, decltype(&::seccomp_release)> filter(::seccomp_init(SCMP_ACT_ERRNO(ENOSYS)), &::seccomp_release);
  if (!filter) return fail(ErrorCode::kUnsupported, "libseccomp cannot begin a filter");
  int wrong = 0;
  const auto allow = [&](int call, std::initializer_list<scmp_arg_cmp> arguments = {}) {
    const int result =
        ::seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, call, static_cast<unsigned>(arguments.size()), arguments.begin());
    if (result < 0) wrong = result;
  };
  for (const int call : kAllowed) allow(call);
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) allow(call, {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)});
  // abort() signals this process, and nobody else.
  for (const int call : {SCMP_SYS(kill), SCMP_SYS(tgkill)}) {
    allow(call, {SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(::getpid()))});
  }
  if (wrong < 0) return fail(ErrorCode::kUnsupported, "libseccomp takes no rule: error {}", -wrong);
  if (const int result = ::seccomp_load(filter.get()); result < 0)
    return fail(ErrorCode::kUnsupported, "the kernel takes no seccomp filter: error {}", -result);
  return {};
}

// The file as it is now, and where it is kept outside of /etc the directory, in which it is replaced. In /etc itself there is
// nothing that an ordinary user's processes may not read; root's could read its secrets, so of root only the one file: a box
// of root does not follow when it is replaced by another.
void add_name_servers(std::vector<LandlockRule>& rules) {
  const std::string path = "/etc/resolv.conf";
  std::error_code error;
  const std::string folder = std::filesystem::canonical(path, error).parent_path();
  if (error) return;
  const bool own = folder != "/etc" || ::geteuid() != 0;
  rules.push_back({own ? folder : path, LandlockRule::kRead});
}

}  // namespace

std::vector<LandlockRule> files_in_use(const HomePaths& paths, const std::string& box_id, const std::vector<Mount>& mounts,
                                       const std::string& cgroup) {
  std::vector<LandlockRule> rules = {
      {paths.box(box_id), LandlockRule::kChange}, {paths.reserve(), LandlockRule::kRewrite}, {"/proc", LandlockRule::kRead}};
  for (const Mount& mount : mounts) {
    // The mark that it is being filled is taken away once it is.
    if (mount.volume && mount.copy && !mount.read_only) rules.push_back({paths.volume(mount.name), LandlockRule::kRemove});
  }
  if (!cgroup.empty()) {
    rules.push_back({cgroup, LandlockRule::kRead});
    rules.push_back({cgroup.substr(0, cgroup.rfind('/')), LandlockRule::kRemoveDirectory});
  }
  add_name_servers(rules);
  return rules;
}

Result<void> confine(const std::vector<LandlockRule>& files) {
  TRY(drop_capabilities());
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno("PR_SET_NO_NEW_PRIVS");
  TRY(enter_landlock(files));
  return filter_system_calls();
}

}  // namespace boxlite::shim

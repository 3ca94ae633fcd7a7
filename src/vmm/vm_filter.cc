// What QEMU calls differs with its version, its libraries and the accelerator, and QEMU has a list of its own. So this is a list
// of what no version has a use for in this jail: the ways out of namespaces, the parts of the kernel that are seldom used and
// were often broken, and what changes files that a descriptor was handed to read. Refused with EPERM, as without a privilege: a
// QEMU that looks whether something is there goes on without it.
#include "vmm/vm_filter.h"

#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <initializer_list>
#include <memory>

namespace boxlite::vmm {
namespace {

constexpr std::array kRefused = {
    // Namespaces, mounts, and files by other ways than their names.
    SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot),
    SCMP_SYS(open_tree), SCMP_SYS(move_mount), SCMP_SYS(fsopen), SCMP_SYS(fsconfig), SCMP_SYS(fsmount), SCMP_SYS(fspick),
    SCMP_SYS(mount_setattr), SCMP_SYS(open_by_handle_at), SCMP_SYS(name_to_handle_at), SCMP_SYS(linkat), SCMP_SYS(link),
    // Owners, modes, times and attributes: the base disk is many boxes', and a user's QEMU is its owner.
    SCMP_SYS(chmod), SCMP_SYS(fchmod), SCMP_SYS(fchmodat), SCMP_SYS(chown), SCMP_SYS(fchown), SCMP_SYS(lchown),
    SCMP_SYS(fchownat), SCMP_SYS(utime), SCMP_SYS(utimes), SCMP_SYS(futimesat), SCMP_SYS(utimensat), SCMP_SYS(setxattr),
    SCMP_SYS(lsetxattr), SCMP_SYS(fsetxattr), SCMP_SYS(removexattr), SCMP_SYS(lremovexattr), SCMP_SYS(fremovexattr),
    // Other processes.
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(process_madvise), SCMP_SYS(kcmp),
    SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(pidfd_send_signal),
    // The kernel's own business.
    SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register), SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(keyctl), SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load), SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(reboot),
    SCMP_SYS(swapon), SCMP_SYS(swapoff), SCMP_SYS(acct), SCMP_SYS(quotactl), SCMP_SYS(syslog), SCMP_SYS(iopl), SCMP_SYS(ioperm),
    SCMP_SYS(personality), SCMP_SYS(clock_settime), SCMP_SYS(settimeofday), SCMP_SYS(sethostname)};

constexpr std::array kNamespaceFlags = {CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,   CLONE_NEWNET,
                                        CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};

// What QEMU's own `-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny` is for, with the same
// answers: whoever makes a program, a process or a privilege of it, or a call that nobody makes any more, is killed.
constexpr std::array kNotQemus = {SCMP_SYS(execve),     SCMP_SYS(execveat),      SCMP_SYS(fork),     SCMP_SYS(vfork),
                                  SCMP_SYS(setuid),     SCMP_SYS(setgid),        SCMP_SYS(setreuid), SCMP_SYS(setregid),
                                  SCMP_SYS(setresuid),  SCMP_SYS(setresgid),     SCMP_SYS(setfsuid), SCMP_SYS(setfsgid),
                                  SCMP_SYS(setgroups),  SCMP_SYS(setpgid),       SCMP_SYS(setsid),   SCMP_SYS(capset),
                                  SCMP_SYS(uselib),     SCMP_SYS(ustat),         SCMP_SYS(sysfs),    SCMP_SYS(vhangup),
                                  SCMP_SYS(modify_ldt), SCMP_SYS(lookup_dcookie)};
constexpr std::array kResources = {
    SCMP_SYS(setpriority),       SCMP_SYS(sched_setparam), SCMP_SYS(sched_setscheduler), SCMP_SYS(sched_setattr),
    SCMP_SYS(sched_setaffinity), SCMP_SYS(ioprio_set),     SCMP_SYS(setrlimit),          SCMP_SYS(mbind),
    SCMP_SYS(set_mempolicy),     SCMP_SYS(migrate_pages),  SCMP_SYS(move_pages)};

// A filter that allows everything but what it is told to refuse.
class Filter {
 public:
  void refuse(int reason, int call, std::initializer_list<scmp_arg_cmp> arguments = {}) {
    add(SCMP_ACT_ERRNO(static_cast<std::uint32_t>(reason)), call, arguments);
  }
  void kill(int call, std::initializer_list<scmp_arg_cmp> arguments = {}) { add(SCMP_ACT_KILL_PROCESS, call, arguments); }

  Result<UniqueFd> program() const {
    if (!filter_) return fail(ErrorCode::kUnsupported, "libseccomp cannot begin a filter");
    if (wrong_ < 0) return fail(ErrorCode::kUnsupported, "libseccomp takes no rule: error {}", -wrong_);
    UniqueFd file(::memfd_create("vm-filter", MFD_CLOEXEC));
    if (!file) return fail_errno("memfd_create");
    if (const int result = ::seccomp_export_bpf(filter_.get(), file.get()); result < 0)
      return fail(ErrorCode::kUnsupported, "libseccomp writes no filter: error {}", -result);
    if (::lseek(file.get(), 0, SEEK_SET) < 0) return fail_errno("lseek");
    return file;
  }

 private:
  void add(std::uint32_t action, int call, std::initializer_list<scmp_arg_cmp> arguments) {
    const int result =
        ::seccomp_rule_add_array(filter_.get(), action, call, static_cast<unsigned>(arguments.size()), arguments.begin());
    if (result < 0) wrong_ = result;
  }

  std::unique_ptr<void, decltype(&::seccomp_release)> filter_{::seccomp_init(SCMP_ACT_ALLOW), &::seccomp_release};
  int wrong_ = 0;
};

}  // namespace

Result<UniqueFd> vm_filter() {
  Filter filter;
  for (const int call : kRefused) filter.refuse(EPERM, call);
  for (const int flag : kNamespaceFlags) {
    const auto bit = static_cast<scmp_datum_t>(flag);
    filter.refuse(EPERM, SCMP_SYS(clone), {SCMP_A0(SCMP_CMP_MASKED_EQ, bit, bit)});
  }
  // Its flags are out of a filter's sight; the C library does without it.
  filter.refuse(ENOSYS, SCMP_SYS(clone3));
  // Channels are handed over. What remains has neither names in this jail nor a network behind it.
  filter.refuse(EPERM, SCMP_SYS(socket), {SCMP_A0(SCMP_CMP_NE, AF_UNIX)});
  return filter.program();
}

Result<UniqueFd> sandbox_filter() {
  Filter filter;
  for (const int call : kNotQemus) filter.kill(call);
  filter.kill(SCMP_SYS(clone), {SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0)});
  for (const int call : kResources) filter.refuse(EPERM, call);
  return filter.program();
}

}  // namespace boxlite::vmm

#include "net/sandbox.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <string_view>

#include "base/sys.h"
#include "base/unique_fd.h"

#ifdef __SANITIZE_ADDRESS__
// Nobody may trace this process, as looking for leaks does.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }
#endif

namespace boxlite::net {
namespace {

Result<void> become(std::uint32_t uid) {
  if (::setgroups(0, nullptr) < 0) return fail_errno("give up groups");
  if (::setresgid(uid, uid, uid) < 0) return fail_errno("become group {}", uid);
  if (::setresuid(uid, uid, uid) < 0) return fail_errno("become user {}", uid);
  return {};
}

// Before the user changes, since it needs a capability. Without it nothing can be gained either, thanks to no_new_privs.
void empty_bounding_set() {
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) return;
  }
}

Result<void> drop_capabilities() {
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return fail_errno("ambient capabilities");
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> none = {};
  if (::syscall(SYS_capset, &header, none.data()) < 0) return fail_errno("give up capabilities");
  return {};
}

Result<void> limit(__rlimit_resource resource, rlim_t most) {
  rlimit now = {};
  if (::getrlimit(resource, &now) < 0) return fail_errno("getrlimit");
  const rlim_t value = std::min(now.rlim_max, most);
  const rlimit lower = {value, value};
  if (::setrlimit(resource, &lower) < 0) return fail_errno("setrlimit");
  return {};
}

Result<void> forbid_files() {
  // Every right that the first version knows, and no rule that grants one.
  landlock_ruleset_attr attributes = {};
  attributes.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
  const UniqueFd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
  if (!ruleset && (errno == ENOSYS || errno == EOPNOTSUPP))
    return sys::write_all(STDERR_FILENO, std::string_view("network: no Landlock here; seccomp alone keeps files away\n"));
  if (!ruleset) return fail_errno("landlock_create_ruleset");
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) < 0) return fail_errno("landlock_restrict_self");
  return {};
}

// What the loop, libslirp, the C library and GLib's memory and messages call.
constexpr std::array kAllowed = {
    SCMP_SYS(poll),          SCMP_SYS(ppoll),        SCMP_SYS(restart_syscall),
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(getrandom),  //
    SCMP_SYS(read),          SCMP_SYS(write),        SCMP_SYS(writev),
    SCMP_SYS(close),  //
    SCMP_SYS(recvfrom),      SCMP_SYS(recvmsg),      SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),       SCMP_SYS(shutdown),  //
    SCMP_SYS(connect),       SCMP_SYS(accept),       SCMP_SYS(accept4),
    SCMP_SYS(getsockname),   SCMP_SYS(getpeername),  SCMP_SYS(dup3),  //
    SCMP_SYS(getsockopt),    SCMP_SYS(setsockopt),   SCMP_SYS(fcntl),
    SCMP_SYS(ioctl),  //
    SCMP_SYS(brk),           SCMP_SYS(munmap),       SCMP_SYS(mremap),
    SCMP_SYS(madvise),  //
    SCMP_SYS(futex),         SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),  //
    SCMP_SYS(getpid),        SCMP_SYS(gettid),       SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};
// What may be tried by a library, to no avail.
constexpr std::array kRefused = {
    SCMP_SYS(open),  SCMP_SYS(openat), SCMP_SYS(openat2),   SCMP_SYS(stat),     SCMP_SYS(newfstatat),
    SCMP_SYS(statx), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
};

Result<void> filter_system_calls() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return {};  // the sanitizers' own calls are others
#endif
  const std::unique_ptr<void, decltype(&::seccomp_release)> filter(::seccomp_init(SCMP_ACT_KILL_PROCESS), &::seccomp_release);
  if (!filter) return fail(ErrorCode::kUnsupported, "libseccomp cannot begin a filter");
  int wrong = 0;
  const auto add = [&](std::uint32_t action, int call, std::initializer_list<scmp_arg_cmp> arguments = {}) {
    const int result =
        ::seccomp_rule_add_array(filter.get(), action, call, static_cast<unsigned>(arguments.size()), arguments.begin());
    if (result < 0) wrong = result;
  };
  for (const int call : kAllowed) add(SCMP_ACT_ALLOW, call);
  for (const int call : kRefused) add(SCMP_ACT_ERRNO(EACCES), call);
  add(SCMP_ACT_ALLOW, SCMP_SYS(mmap), {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)});
  // abort() signals this process, and nobody else.
  add(SCMP_ACT_ALLOW, SCMP_SYS(tgkill),
      {SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(::getpid())), SCMP_A2(SCMP_CMP_EQ, SIGABRT)});
  // Raw sockets are refused, not deadly: libslirp tries one when the host allows no ping sockets.
  constexpr scmp_datum_t kTypeMask = 0xf;
  for (const int family : {AF_INET, AF_INET6}) {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM})
      add(SCMP_ACT_ALLOW, SCMP_SYS(socket),
          {SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family)),
           SCMP_A1(SCMP_CMP_MASKED_EQ, kTypeMask, static_cast<scmp_datum_t>(type))});
    add(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket),
        {SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family)), SCMP_A1(SCMP_CMP_MASKED_EQ, kTypeMask, SOCK_RAW)});
  }
  add(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), {SCMP_A0(SCMP_CMP_EQ, AF_UNIX)});
  add(SCMP_ACT_ALLOW, SCMP_SYS(socketpair), {SCMP_A0(SCMP_CMP_EQ, AF_UNIX)});  // name_connection.h
  if (wrong < 0) return fail(ErrorCode::kUnsupported, "libseccomp takes no rule: error {}", -wrong);
  if (const int result = ::seccomp_load(filter.get()); result < 0)
    return fail(ErrorCode::kUnsupported, "the kernel takes no seccomp filter: error {}", -result);
  return {};
}

}  // namespace

Result<void> enter_sandbox(std::optional<std::uint32_t> uid) {
  empty_bounding_set();
  if (uid) TRY(become(*uid));
  TRY(drop_capabilities());
  // Also of a process that has been stopped, or hangs. A change of user clears it. Had the shim ended before, its pidfd says so.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return fail_errno("PR_SET_PDEATHSIG");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return fail_errno("PR_SET_DUMPABLE");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno("PR_SET_NO_NEW_PRIVS");
  TRY(limit(RLIMIT_CORE, 0));
  TRY(limit(RLIMIT_FSIZE, 0));  // the lock that it keeps open is a file
  TRY(limit(RLIMIT_NOFILE, kMaxDescriptors));
#ifndef __SANITIZE_ADDRESS__  // its shadow memory is beyond any limit
  TRY(limit(RLIMIT_DATA, kMaxMemory));
#endif
  TRY(forbid_files());
  return filter_system_calls();
}

}  // namespace boxlite::net

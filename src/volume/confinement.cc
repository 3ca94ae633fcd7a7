#include "volume/confinement.h"

#include <fcntl.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <initializer_list>
#include <memory>

namespace boxlite::volume {
namespace {

using Filter = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

constexpr std::array kCalls = {
    // The connection, and complaints.
    SCMP_SYS(poll), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(write), SCMP_SYS(close),
    // Files.
    SCMP_SYS(openat), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(fstatfs), SCMP_SYS(fchdir), SCMP_SYS(lseek),
    SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(ftruncate), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(getdents64),
    // Names.
    SCMP_SYS(symlinkat), SCMP_SYS(mkdirat), SCMP_SYS(readlinkat), SCMP_SYS(linkat), SCMP_SYS(renameat), SCMP_SYS(unlinkat),
    // Attributes.
    SCMP_SYS(fchown), SCMP_SYS(fchownat), SCMP_SYS(fchmod), SCMP_SYS(fchmodat), SCMP_SYS(utimensat), SCMP_SYS(fgetxattr),
    SCMP_SYS(fsetxattr), SCMP_SYS(lgetxattr), SCMP_SYS(lsetxattr), SCMP_SYS(llistxattr), SCMP_SYS(lremovexattr),
    // Memory, and the end.
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(restart_syscall)};

bool allow(const Filter& filter, int call, std::initializer_list<scmp_arg_cmp> arguments = {}) {
  const int error =
      ::seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, call, static_cast<unsigned>(arguments.size()), arguments.begin());
  if (error != 0) errno = -error;
  return error == 0;
}

bool allow_all(const Filter& filter) {
  for (const int call : kCalls) {
    if (!allow(filter, call)) return false;
  }
  for (const mode_t type : {S_IFREG, S_IFIFO, S_IFSOCK}) {
    if (!allow(filter, SCMP_SYS(mknodat), {SCMP_A2(SCMP_CMP_MASKED_EQ, S_IFMT, type)})) return false;
  }
  for (const int command : {F_OFD_SETLK, F_OFD_GETLK}) {
    if (!allow(filter, SCMP_SYS(fcntl), {SCMP_A1(SCMP_CMP_EQ, static_cast<scmp_datum_t>(command))})) return false;
  }
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    if (!allow(filter, call, {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)})) return false;
  }
  return true;
}

}  // namespace

bool confine() {
  const Filter filter(::seccomp_init(SCMP_ACT_KILL_PROCESS), ::seccomp_release);
  if (!filter) {
    errno = ENOMEM;
    return false;
  }
  if (!allow_all(filter)) return false;
  const int error = ::seccomp_load(filter.get());
  if (error != 0) errno = -error;
  return error == 0;
}

}  // namespace boxlite::volume

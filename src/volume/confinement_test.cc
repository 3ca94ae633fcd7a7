#include "volume/confinement.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <utility>
#include <vector>

namespace boxlite::volume {
namespace {

// How a confined process ends that makes a call: by its exit or by a signal.
int end_of(const std::function<void()>& call) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (!confine()) ::_exit(99);
    call();
    ::syscall(SYS_exit_group, 0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(ConfinementTest, WhatAServerHasNoUseForEndsIt) {
  const std::vector<std::pair<const char*, std::function<void()>>> calls = {
      {"execve", [] { ::syscall(SYS_execve, "/bin/true", nullptr, nullptr); }},
      {"execveat", [] { ::syscall(SYS_execveat, AT_FDCWD, "/bin/true", nullptr, nullptr, 0); }},
      {"fork", [] { ::syscall(SYS_fork); }},
      {"clone", [] { ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }},
      {"clone3", [] { ::syscall(SYS_clone3, nullptr, 0); }},
      {"socket", [] { ::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }},
      {"connect", [] { ::syscall(SYS_connect, 0, nullptr, 0); }},
      {"sendmsg", [] { ::syscall(SYS_sendmsg, 0, nullptr, 0); }},
      {"mount", [] { ::syscall(SYS_mount, nullptr, "/", nullptr, MS_REMOUNT | MS_BIND, nullptr); }},
      {"move_mount", [] { ::syscall(SYS_move_mount, -1, "", -1, "", 0); }},
      {"mount_setattr", [] { ::syscall(SYS_mount_setattr, -1, "", 0, nullptr, 0); }},
      {"umount2", [] { ::syscall(SYS_umount2, "/", MNT_DETACH); }},
      {"pivot_root", [] { ::syscall(SYS_pivot_root, "/", "/"); }},
      {"chroot", [] { ::syscall(SYS_chroot, "/"); }},
      {"unshare", [] { ::syscall(SYS_unshare, 0); }},
      {"setns", [] { ::syscall(SYS_setns, -1, 0); }},
      {"ptrace", [] { ::syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0); }},
      {"process_vm_writev", [] { ::syscall(SYS_process_vm_writev, 1, nullptr, 0, nullptr, 0, 0); }},
      {"kill", [] { ::syscall(SYS_kill, 1, 0); }},
      {"pidfd_send_signal", [] { ::syscall(SYS_pidfd_send_signal, -1, 0, nullptr, 0); }},
      {"open_by_handle_at", [] { ::syscall(SYS_open_by_handle_at, AT_FDCWD, nullptr, 0); }},
      {"openat2", [] { ::syscall(SYS_openat2, AT_FDCWD, "/", nullptr, 0); }},
      {"ioctl", [] { ::syscall(SYS_ioctl, 0, 0, 0); }},
      {"bpf", [] { ::syscall(SYS_bpf, 0, nullptr, 0); }},
      {"io_uring_setup", [] { ::syscall(SYS_io_uring_setup, 1, nullptr); }},
      {"memfd_create", [] { ::syscall(SYS_memfd_create, "x", 0); }},
      {"setuid", [] { ::syscall(SYS_setuid, 0); }},
      {"capset", [] { ::syscall(SYS_capset, nullptr, nullptr); }},
      {"prctl", [] { ::syscall(SYS_prctl, 0, 0, 0, 0, 0); }},
      {"char device", [] { ::syscall(SYS_mknodat, AT_FDCWD, "/nonexistent/x", S_IFCHR | 0666, makedev(1, 3)); }},
      {"block device", [] { ::syscall(SYS_mknodat, AT_FDCWD, "/nonexistent/x", S_IFBLK | 0666, makedev(8, 0)); }},
      {"duplicate of a descriptor", [] { ::syscall(SYS_fcntl, 0, F_DUPFD, 0); }},
      {"lock that waits", [] { ::syscall(SYS_fcntl, 0, F_OFD_SETLKW, nullptr); }},
      {"executable memory",
       [] { ::syscall(SYS_mmap, nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }},
      {"memory made executable", [] { ::syscall(SYS_mprotect, nullptr, 4096, PROT_READ | PROT_EXEC); }},
      {"call of the x32 ABI", [] { ::syscall(0x40000000 | SYS_close, 100); }},
  };
  for (const auto& [name, call] : calls) EXPECT_EQ(end_of(call), -SIGSYS) << name;
}

TEST(ConfinementTest, WhatItNeedsStaysAllowed) {
  EXPECT_EQ(end_of([] {
              const int fd = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0));
              ::syscall(SYS_mknodat, AT_FDCWD, "/nonexistent/x", S_IFIFO | 0666, 0);
              ::syscall(SYS_mmap, nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              struct flock range = {};
              ::syscall(SYS_fcntl, fd, F_OFD_GETLK, &range);
              ::syscall(SYS_close, fd);
            }),
            0);
}

}  // namespace
}  // namespace boxlite::volume

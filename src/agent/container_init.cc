#include "agent/container_init.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace boxlite::agent {
namespace {

// What a fault of our own would raise stays deadly.
sigset_t forwarded_signals() {
  sigset_t signals;
  sigfillset(&signals);
  for (const int own : {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS}) sigdelset(&signals, own);
  return signals;
}

// The session's pipes end with the command, not with us.
void let_go_of_descriptors() {
  ::syscall(SYS_close_range, 0U, ~0U, 0U);
  const int null = ::open("/dev/null", O_RDWR);
  for (int fd = null; fd >= 0 && fd < STDERR_FILENO;) fd = ::dup(null);
}

void end_with(int status) { ::_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status)); }

void reap(pid_t command) {
  int status = 0;
  for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid == command) end_with(status);
  }
}

[[noreturn]] void be_init(pid_t command, const sigset_t& signals) {
  ::prctl(PR_SET_NAME, "boxlite-init");
  let_go_of_descriptors();
  for (;;) {
    const int signal = ::sigwaitinfo(&signals, nullptr);
    if (signal == SIGCHLD) {
      reap(command);
    } else if (signal > 0 && signal != SIGTTIN && signal != SIGTTOU) {
      ::kill(command, signal);
    }
  }
}

Result<void> take_foreground(bool tty) {
  if (::setpgid(0, 0) < 0) return fail_errno("make a process group");
  // From the background this would stop us, were SIGTTOU not blocked here.
  if (tty && ::tcsetpgrp(STDIN_FILENO, ::getpid()) < 0) return fail_errno("take the terminal's foreground");
  return {};
}

}  // namespace

Result<void> split_off_init(bool tty) {
  const sigset_t signals = forwarded_signals();
  sigset_t before;
  if (::sigprocmask(SIG_SETMASK, &signals, &before) < 0) return fail_errno("sigprocmask");
  const pid_t command = ::fork();
  if (command < 0) return fail_errno("start the command below its init");
  if (command > 0) be_init(command, signals);
  Result<void> ready = take_foreground(tty);
  if (::sigprocmask(SIG_SETMASK, &before, nullptr) < 0) return fail_errno("sigprocmask");
  return ready;
}

}  // namespace boxlite::agent

#include "shim/detach.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace boxlite::shim {
namespace {

void reset_signals() {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  // Peers come and go: a write to a closed socket is an error to handle, not the end of the box.
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace

Result<void> detach() {
  const pid_t child = ::fork();
  if (child < 0) return fail_errno("fork");
  if (child > 0) ::_exit(0);
  if (::setsid() < 0) return fail_errno("setsid");
  if (::chdir("/") < 0) return fail_errno("chdir /");
  ::umask(077);
  reset_signals();
  // The environment of the box passes through this process's memory: no core dumps, no tracing by others of this user.
  if (::prctl(PR_SET_DUMPABLE, 0) < 0) return fail_errno("PR_SET_DUMPABLE");
  return {};
}

}  // namespace boxlite::shim

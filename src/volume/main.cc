// boxlite-volume: serves one volume of a box, in a jail of its own (vmm/volume_server.h).
//
//   boxlite-volume CONNECTION LAUNCHER LOCK real|mapped
//
//   CONNECTION  socket that speaks 9P2000.L; its end is this process's end
//   LAUNCHER    pidfd of the shim, the second sign that nobody needs this process any more
//   LOCK        descriptor of the VM's lock, kept open: the lock is held while this process lives
//   real        owners are what the host's files have (root); mapped: see ownership.h
//
// PID 1 of its PID namespace. The volume is /volume.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "volume/confinement.h"
#include "volume/server.h"

namespace {

constexpr int kFailed = 125;

int complain(const char* what) {
  const char* reason = std::strerror(errno);  // NOLINT(concurrency-mt-unsafe): one thread
  for (const char* part : {"boxlite-volume: ", what, ": ", reason, "\n"}) (void)!::write(STDERR_FILENO, part, std::strlen(part));
  return kFailed;
}

// What bwrap has left is for this process alone.
bool give_up_inheritance() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2] = {};
  if (::syscall(SYS_capget, &header, sets) < 0) return false;
  sets[0].inheritable = sets[1].inheritable = 0;
  return ::syscall(SYS_capset, &header, sets) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace boxlite::volume;
  if (argc != 5) return complain("four arguments are needed");
  const int connection = std::atoi(argv[1]);  // NOLINT(cert-err34-c): our own caller
  const int launcher = std::atoi(argv[2]);    // NOLINT(cert-err34-c)
  const bool mapped = std::strcmp(argv[4], "mapped") == 0;
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return complain("parent-death signal");
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || !give_up_inheritance()) return complain("capabilities");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return complain("no_new_privs");
  ::umask(0);
  rlimit files = {};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = std::min<rlim_t>(files.rlim_max, 2 * Server::kMaxFids + 64);
    (void)::setrlimit(RLIMIT_NOFILE, &files);
  }
  boxlite::UniqueFd root(::open("/volume", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return complain("/volume");
  Server server(std::move(root), Ownership(mapped, {::geteuid(), ::getegid(), 0}));
  if (!confine()) return complain("filter of system calls");
  if (serve(server, connection, launcher)) return 0;
  errno = EPROTO;
  return complain("the guest broke the protocol");
}

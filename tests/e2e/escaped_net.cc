// Runs in boxlite-net's place: takes its configuration and its sandbox, and then tries what somebody could who has taken the
// process over; each attempt in a process of its own, since most end it. Says on its log whether they were denied.
//
// What to try on is at the end of its own file, as with escaped_vmm.cc.
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>

#include "net/control.h"
#include "net/sandbox.h"

namespace {

constexpr int kNoSandbox = 255;

struct Tally {
  boxlite::net::NetConfig config;
  int tried = 0;
  int succeeded = 0;
};

void say(const std::string& line) { (void)!::write(STDERR_FILENO, (line + "\n").data(), line.size() + 1); }

void attempt(Tally& tally, const std::string& what, const std::function<long()>& act) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!boxlite::net::enter_sandbox(tally.config.uid)) ::_exit(kNoSandbox);
    ::_exit(act() < 0 ? errno : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ++tally.tried;
  const bool denied = WIFSIGNALED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != kNoSandbox);
  if (!denied) ++tally.succeeded;
  say(std::string("escape: ") + (denied ? "denied " : "GOT ") + what + ": " +
      (WIFSIGNALED(status) ? ::strsignal(WTERMSIG(status)) : std::strerror(WEXITSTATUS(status))));
}

void try_target(Tally& tally, const std::string& kind, const std::string& value) {
  const char* path = value.c_str();
  if (kind == "file") {
    attempt(tally, "read " + value, [&] { return ::open(path, O_RDONLY); });
    attempt(tally, "write " + value, [&] { return ::open(path, O_WRONLY); });
    attempt(tally, "create beside " + value, [&] { return ::open((value + ".new").c_str(), O_WRONLY | O_CREAT, 0600); });
    attempt(tally, "look at " + value, [&] {
      struct stat st = {};
      return ::stat(path, &st);
    });
    attempt(tally, "unlink " + value, [&] { return ::unlink(path); });
  } else if (kind == "socket") {
    attempt(tally, "connect to " + value, [&] {
      const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
      if (fd < 0) return -1;
      sockaddr_un address = {};
      address.sun_family = AF_UNIX;
      std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
      return ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    });
  } else if (kind == "pid") {
    const int pid = std::atoi(path);
    attempt(tally, "signal process " + value, [&] { return ::kill(pid, SIGTERM); });
    attempt(tally, "trace process " + value, [&] { return ::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr); });
    attempt(tally, "open process " + value, [&] { return ::syscall(SYS_pidfd_open, pid, 0); });
    attempt(tally, "memory of process " + value, [&] { return ::syscall(SYS_process_vm_readv, pid, nullptr, 0, nullptr, 0, 0); });
  }
}

void try_kernel(Tally& tally) {
  attempt(tally, "fork", [] { return ::syscall(SYS_fork); });
  attempt(tally, "a process by clone", [] { return ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); });
  attempt(tally, "a program", [] { return ::execl("/bin/true", "true", nullptr); });
  attempt(tally, "become root", [] { return ::syscall(SYS_setuid, 0); });
  attempt(tally, "a user namespace", [] { return ::unshare(CLONE_NEWUSER); });
  attempt(tally, "mount", [] { return ::mount("none", "/tmp", "tmpfs", 0, nullptr); });
  attempt(tally, "bpf", [] { return ::syscall(SYS_bpf, 0, nullptr, 0); });
  attempt(tally, "io_uring", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); });
  attempt(tally, "keyring", [] { return ::syscall(SYS_keyctl, 0, -3, 0, 0, 0); });
  attempt(tally, "executable memory", [] {
    return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1L : 0L;
  });
  attempt(tally, "memory made executable", [] { return ::syscall(SYS_mprotect, nullptr, 4096, PROT_READ | PROT_EXEC); });
  for (const int family : {AF_UNIX, AF_NETLINK, AF_PACKET, AF_VSOCK, AF_ALG})
    attempt(tally, "socket of family " + std::to_string(family), [&] { return ::socket(family, SOCK_DGRAM, 0); });
  attempt(tally, "raw socket", [] { return ::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); });
  attempt(tally, "a port of its own", [] {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in any = {};
    any.sin_family = AF_INET;
    return ::bind(fd, reinterpret_cast<sockaddr*>(&any), sizeof any) < 0 ? -1 : ::listen(fd, 1);
  });
  const int lock = tally.config.lock;
  attempt(tally, "fill the lock's file", [lock] { return ::write(lock, "x", 1); });
  attempt(tally, "10000 descriptors", [] {
    for (int i = 0; i < 10000; ++i) {
      if (::fcntl(0, F_DUPFD, 0) < 0) return -1;
    }
    return 0;
  });
  attempt(tally, "4 GiB of memory", [] {
    return ::mmap(nullptr, 4UL << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED
               ? -1L
               : 0L;
  });
}

}  // namespace

int main() {
  boxlite::net::Control control(STDIN_FILENO);
  auto config = control.read_config();
  if (!config) return 1;
  Tally tally{.config = std::move(*config)};
  std::ostringstream read;
  read << std::ifstream("/proc/self/exe", std::ios::binary).rdbuf();
  const std::string all = read.str();
  const std::string mark = std::string("\nTARG") + "ETS\n";
  std::istringstream lines(all.substr(all.rfind(mark) + mark.size()));
  for (std::string kind, value; lines >> kind >> value;) try_target(tally, kind, value);
  try_kernel(tally);
  say("escape: tried " + std::to_string(tally.tried) + ", got " + std::to_string(tally.succeeded));
  return 0;
}

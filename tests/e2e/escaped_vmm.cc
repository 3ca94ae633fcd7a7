// Runs in QEMU's place: what somebody could try who has taken QEMU over, without even its own filter of system calls. Says of
// each attempt, on the box's console, whether it was denied.
//
// As a library (BOXLITE_ESCAPED_LIBRARY) it stands in the place of boxlite-memory-guard.so, and so within a real QEMU that is to
// be restored: before QEMU's own first line, with all that it was handed.
//
// What to try on is at the end of its own file, which is the one file that the test can write before the jail is made: lines
// after "\nTARGETS\n", "file PATH", "socket PATH", "port NUMBER", "pid NUMBER".
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace {

int console = -1;
int tried = 0;
int succeeded = 0;

void say(const std::string& line) { (void)!::write(console, (line + "\n").data(), line.size() + 1); }

// An attempt returns a negative number and sets errno when it was denied.
void attempt(const std::string& what, const std::function<long()>& act) {
  errno = 0;
  const long result = act();
  const int reason = errno;
  ++tried;
  if (result >= 0) ++succeeded;
  say(std::string("escape: ") + (result < 0 ? "denied " : "GOT ") + what +
      (result < 0 ? std::string(": ") + std::strerror(reason) : ""));
}

std::string argument_after(char** argv, const std::string& beginning) {
  for (; *argv != nullptr; ++argv) {
    const std::string text = *argv;
    if (text.rfind(beginning, 0) == 0) return text.substr(beginning.size());
  }
  return "-1";
}

std::vector<std::pair<std::string, std::string>> targets(const char* self) {
  std::ostringstream read;
  read << std::ifstream(self, std::ios::binary).rdbuf();
  const std::string all = read.str();
  const std::string mark = std::string("\nTARG") + "ETS\n";
  std::istringstream lines(all.substr(all.rfind(mark) + mark.size()));
  std::vector<std::pair<std::string, std::string>> found;
  for (std::string kind, value; lines >> kind >> value;) found.emplace_back(kind, value);
  return found;
}

long connect_unix(const std::string& path, bool abstract) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return -1;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path + (abstract ? 1 : 0), path.c_str(), sizeof address.sun_path - 2);
  return ::connect(fd, reinterpret_cast<sockaddr*>(&address),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1));
}

long connect_tcp(const char* ip, int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return -1;
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  ::inet_pton(AF_INET, ip, &address.sin_addr);
  return ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
}

void try_target(const std::string& kind, const std::string& value) {
  const char* path = value.c_str();
  if (kind == "file") {
    attempt("read " + value, [&] { return ::open(path, O_RDONLY); });
    attempt("write " + value, [&] { return ::open(path, O_WRONLY); });
    attempt("look at " + value, [&] {
      struct stat st = {};
      return ::stat(path, &st);
    });
  } else if (kind == "socket") {
    attempt("connect to " + value, [&] { return connect_unix(value, false); });
    attempt("connect to abstract " + value, [&] { return connect_unix(value, true); });
  } else if (kind == "port") {
    attempt("connect to the host's port " + value, [&] { return connect_tcp("127.0.0.1", std::atoi(path)); });
  } else if (kind == "pid") {
    const int pid = std::atoi(path);
    attempt("signal process " + value, [&] { return ::kill(pid, SIGTERM); });
    attempt("trace process " + value, [&] { return ::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr); });
    attempt("open process " + value, [&] { return ::syscall(SYS_pidfd_open, pid, 0); });
    attempt("environment of process " + value, [&] { return ::open(("/proc/" + value + "/environ").c_str(), O_RDONLY); });
  }
}

void try_own_files(int base, int disk) {
  attempt("write to the base disk", [&] { return ::pwrite(base, "x", 1, 0); });
  attempt("empty the base disk", [&] { return ::ftruncate(base, 0); });
  attempt("map the base disk for writing",
          [&] { return ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, base, 0) == MAP_FAILED ? -1L : 0L; });
  attempt("change the mode of the base disk", [&] { return ::fchmod(base, 0); });
  attempt("give the base disk away", [&] { return ::fchown(base, 12345, 12345); });
  attempt("date the base disk", [&] { return ::futimens(base, nullptr); });
  attempt("mark the base disk", [&] { return ::syscall(SYS_fsetxattr, base, "user.mark", "x", 1, 0); });
  attempt("link the base disk", [&] { return ::linkat(base, "", AT_FDCWD, "/linked", AT_EMPTY_PATH); });
  attempt("open the base disk anew for writing",
          [&] { return ::open(("/proc/self/fd/" + std::to_string(base)).c_str(), O_WRONLY); });
  ::signal(SIGXFSZ, SIG_IGN);
  attempt("write 1 TiB beyond the disk", [&] { return ::pwrite(disk, "x", 1, 1LL << 40); });
  attempt("make the disk 1 TiB", [&] { return ::ftruncate(disk, 1LL << 40); });
  for (const char* place : {"/new", "/dev/new", "/dev/shm/new", "/boxlite/new", "/usr/new", "/tmp/new"})
    attempt(std::string("make a file ") + place, [&] { return ::open(place, O_WRONLY | O_CREAT, 0600); });
}

// What other boxes are restored from: under its name in the jail, and by every descriptor that is open for reading alone. The
// others, the disk and the VM's lock, are of this box.
void try_template() {
  std::map<int, std::string> opened;
  for (const char* file : {"/boxlite/memory", "/boxlite/process-image"}) {
    const int fd = ::open(file, O_RDONLY);
    if (fd < 0) continue;
    opened[fd] = file;
    const std::string name = file;
    attempt("open " + name + " for writing", [&] { return ::open(file, O_WRONLY); });
    attempt("open " + name + " for both", [&] { return ::open(file, O_RDWR); });
    attempt("empty " + name, [&] { return ::truncate(file, 0); });
    attempt("change the mode of " + name, [&] { return ::chmod(file, 0666); });
    attempt("remove " + name, [&] { return ::unlink(file); });
    attempt("rename " + name, [&] { return ::rename(file, "/boxlite/other"); });
    attempt("mount " + name + " anew", [&] { return ::mount(nullptr, file, nullptr, MS_REMOUNT | MS_BIND, nullptr); });
  }
  int fds = 0;
  for (int fd = 3; fd < 256; ++fd) {
    struct stat st = {};
    if (::fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (::fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY) continue;
    ++fds;
    const std::string name = opened.contains(fd) ? "opened " + opened[fd] : "descriptor " + std::to_string(fd);
    attempt("write to " + name, [&] { return ::pwrite(fd, "x", 1, 0); });
    attempt("empty " + name, [&] { return ::ftruncate(fd, 0); });
    attempt("punch a hole into " + name, [&] { return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096); });
    attempt("map " + name + " for writing",
            [&] { return ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1L : 0L; });
    attempt("make a map of " + name + " writable", [&] {
      void* map = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
      return map == MAP_FAILED ? -1 : ::mprotect(map, 4096, PROT_READ | PROT_WRITE);
    });
    attempt("change the mode of " + name, [&] { return ::fchmod(fd, 0666); });
    attempt("open " + name + " anew for writing",
            [&] { return ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_WRONLY); });
    attempt("open " + name + " anew by its device", [&] { return ::open(("/dev/fd/" + std::to_string(fd)).c_str(), O_WRONLY); });
  }
  say("escape: files " + std::to_string(fds));
}

void try_kernel() {
  attempt("become root",
          [] { return ::setuid(0) == 0 && ::getuid() == 0 && ::open("/new", O_CREAT | O_WRONLY, 0600) >= 0 ? 0L : -1L; });
  attempt("a user namespace", [] { return ::unshare(CLONE_NEWUSER); });
  attempt("a mount namespace", [] { return ::unshare(CLONE_NEWNS); });
  attempt("a process in a user namespace", [] { return ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0); });
  attempt("mount", [] { return ::mount("none", "/usr", "tmpfs", 0, nullptr); });
  attempt("remount", [] { return ::mount("none", "/", nullptr, MS_REMOUNT | MS_BIND, nullptr); });
  attempt("chroot", [] { return ::chroot("/usr"); });
  attempt("trace PID 1", [] { return ::ptrace(PTRACE_SEIZE, 1, nullptr, nullptr); });
  attempt("a file by handle", [] { return ::syscall(SYS_open_by_handle_at, AT_FDCWD, nullptr, O_RDONLY); });
  attempt("bpf", [] { return ::syscall(SYS_bpf, 0, nullptr, 0); });
  attempt("perf", [] { return ::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0); });
  attempt("keyring", [] { return ::syscall(SYS_keyctl, 0, -3, 0, 0, 0); });
  attempt("io_uring", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); });
  attempt("userfaultfd", [] { return ::syscall(SYS_userfaultfd, 0); });
  for (const int family : {AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK, AF_ALG})
    attempt("socket of family " + std::to_string(family),
            [&] { return ::socket(family, family == AF_ALG ? SOCK_SEQPACKET : SOCK_DGRAM, 0); });
}

// Bounds, not denials: a host survives what it cannot forbid.
void try_amounts() {
  attempt("1000 processes", [] {
    std::vector<pid_t> children;
    long result = 0;
    while (children.size() < 1000 && result >= 0) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::pause();
        ::_exit(0);
      }
      if (child < 0)
        result = -1;
      else
        children.push_back(child);
    }
    const int reason = errno;
    for (const pid_t child : children) ::kill(child, SIGKILL);
    for (const pid_t child : children) ::waitpid(child, nullptr, 0);
    errno = reason;
    return result;
  });
  attempt("10000 descriptors", [] {
    for (int i = 0; i < 10000; ++i) {
      if (::dup(0) < 0) return -1L;
    }
    return 0L;
  });
  attempt("64 GiB of memory", [] {
    for (int i = 0; i < 64; ++i) {
      if (::mmap(nullptr, 1UL << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
        return -1L;
    }
    return 0L;
  });
  attempt("a core dump's limit raised", [] {
    const rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    return ::setrlimit(RLIMIT_CORE, &limit);
  });
}

int run(char** argv, const char* self, bool restored) {
  console = std::atoi(argument_after(argv, "socket,id=console,fd=").c_str());
  int base = -1;
  int disk = -1;
  if (const std::string program = argv[0]; program == "/boxlite/vm-resume") {
    // src/vmm/vm_resume.cc: image, memory, filter, lock, portal, console, QMP, volumes, network, base, disk.
    console = std::atoi(argv[6]);
    base = std::atoi(argv[10]);
    disk = std::atoi(argv[11]);
  }
  for (char** argument = argv; *argument != nullptr; ++argument) {
    const std::string text = *argument;
    if (text.starts_with("fd=") && text.ends_with(",set=1")) base = std::atoi(*argument + 3);
    if (text.starts_with("fd=") && text.ends_with(",set=2")) disk = std::atoi(*argument + 3);
  }
  say("escape: uid " + std::to_string(::getuid()));
  for (const auto& [kind, value] : targets(self)) try_target(kind, value);
  if (restored) try_template();
  try_own_files(base, disk);
  try_kernel();
  try_amounts();
  say("escape: tried " + std::to_string(tried) + ", got " + std::to_string(succeeded));
  return 0;
}

}  // namespace

#ifdef BOXLITE_ESCAPED_LIBRARY
[[gnu::constructor]] static void escape(int, char** argv, char**) { ::_exit(run(argv, "/boxlite/memory-guard.so", true)); }
#else
int main(int, char** argv) { return run(argv, argv[0], argv[0] == std::string("/boxlite/vm-resume")); }
#endif

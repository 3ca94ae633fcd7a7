#include "base/process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "base/file.h"
#include "base/sys.h"
#include "base/thread.h"

namespace boxlite {
namespace {

constexpr std::size_t kProcFileLimit = 64 * 1024;

std::vector<char*> c_strings(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Everything below runs in the child between fork and exec, where only async-signal-safe calls are allowed: no allocation.
struct ChildPlan {
  const char* program;
  char* const* argv;
  char* const* environment;
  int stdio[3];
  const int* inherit;  // sorted
  std::size_t inherit_count;
  int error_fd;  // close-on-exec; also in `inherit` order of closing
  pid_t parent;
  bool die_with_parent;
  bool new_session;
};

[[noreturn]] void report_and_exit(int error_fd) {
  const int error_number = errno;
  (void)!::write(error_fd, &error_number, sizeof error_number);
  ::_exit(127);
}

void close_all_but(const int* keep, std::size_t count) {
  unsigned first = 3;
  for (std::size_t i = 0; i < count; ++i) {
    const unsigned fd = static_cast<unsigned>(keep[i]);
    if (fd > first) ::syscall(SYS_close_range, first, fd - 1, 0);
    first = std::max(first, fd + 1);
  }
  ::syscall(SYS_close_range, first, ~0U, 0);
}

[[noreturn]] void run_child(const ChildPlan& plan) {
  if (plan.die_with_parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != plan.parent) ::_exit(127);  // the parent died before the line above
  }
  if (plan.new_session) ::setsid();
  for (int sig = 1; sig < NSIG; ++sig) {
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    ::sigaction(sig, &action, nullptr);  // fails for SIGKILL and SIGSTOP: nothing to reset there
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);

  // The three descriptors may overlap with 0–2: first move them all out of the way, then into place.
  int moved[3];
  for (int i = 0; i < 3; ++i) {
    moved[i] = plan.stdio[i] >= 0 ? ::fcntl(plan.stdio[i], F_DUPFD_CLOEXEC, 3) : ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (moved[i] < 0) report_and_exit(plan.error_fd);
  }
  for (int i = 0; i < 3; ++i) {
    if (::dup2(moved[i], i) < 0) report_and_exit(plan.error_fd);
  }
  close_all_but(plan.inherit, plan.inherit_count);
  for (std::size_t i = 0; i < plan.inherit_count; ++i) {
    if (plan.inherit[i] != plan.error_fd) ::fcntl(plan.inherit[i], F_SETFD, 0);
  }
  ::execve(plan.program, plan.argv, plan.environment);
  report_and_exit(plan.error_fd);
}

// Born in it: nothing of the child is ever counted elsewhere, and the kernel moves no process, which takes it tens of
// milliseconds.
long clone_into(int cgroup) {
  clone_args args = {};
  args.flags = CLONE_INTO_CGROUP;
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<std::uint64_t>(cgroup);
  return ::syscall(SYS_clone3, &args, sizeof args);
}

ExitStatus decode(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return {info.si_status, 0};
  return {128 + info.si_status, info.si_status};
}

}  // namespace

Result<std::string> boot_id() {
  TRY_ASSIGN(std::string text, read_file("/proc/sys/kernel/random/boot_id", kProcFileLimit));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Result<std::uint64_t> pid_namespace() {
  TRY_ASSIGN(const struct stat st, sys::stat("/proc/self/ns/pid"));
  return std::uint64_t{st.st_ino};
}

Result<std::uint64_t> process_start_time(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/stat", pid);
  TRY_ASSIGN(const std::string text, read_file(path, kProcFileLimit));
  // The command name may hold spaces and parentheses: fields are counted from the last one. Field 3 follows it.
  const std::size_t paren = text.rfind(')');
  if (paren == std::string::npos) return fail(ErrorCode::kInternal, "{} has no command name", path);
  std::size_t at = paren + 2;
  for (int field = 3; field < 22 && at < text.size(); ++field) {
    const std::size_t space = text.find(' ', at);
    if (space == std::string::npos) return fail(ErrorCode::kInternal, "{} has too few fields", path);
    at = space + 1;
  }
  std::uint64_t ticks = 0;
  const auto parsed = std::from_chars(text.data() + at, text.data() + text.size(), ticks);
  if (parsed.ec != std::errc()) return fail(ErrorCode::kInternal, "{} has no start time", path);
  return ticks;
}

Result<UniqueFd> open_process(pid_t pid, std::uint64_t start_time) {
  if (pid <= 0) return fail(ErrorCode::kNotFound, "no process {}", pid);
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    if (errno == ESRCH) return fail(ErrorCode::kNotFound, "no process {}", pid);
    return fail_errno("pidfd_open {}", pid);
  }
  TRY_ASSIGN(const std::uint64_t actual, process_start_time(pid));
  if (actual != start_time) return fail(ErrorCode::kNotFound, "process {} is another one now", pid);
  return pidfd;
}

Result<void> signal_process(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) < 0 && errno != ESRCH) {
    return fail_errno("send signal {}", signal);
  }
  return {};
}

Result<bool> wait_process_end(int pidfd, std::optional<std::chrono::milliseconds> timeout) {
  TRY_ASSIGN(const short events, sys::poll_one(pidfd, POLLIN, timeout));
  return events != 0;
}

Result<ChildProcess> ChildProcess::spawn(const ProcessSpec& spec) {
  TRY_ASSIGN(sys::Pipe error_pipe, sys::pipe());
  const std::vector<char*> argv = c_strings(spec.argv);
  const std::vector<char*> environment = c_strings(spec.environment);
  std::vector<int> inherit = spec.inherit;
  inherit.push_back(error_pipe.write_end.get());
  std::sort(inherit.begin(), inherit.end());

  const ChildPlan plan{
      spec.program.c_str(), argv.data(),     environment.data(),         {spec.stdin_fd, spec.stdout_fd, spec.stderr_fd},
      inherit.data(),       inherit.size(),  error_pipe.write_end.get(), ::getpid(),
      spec.die_with_parent, spec.new_session};

  // No signal may reach the child before it has reset the caller's handlers.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  // The raw call, not fork(): pthread_atfork handlers (ours close locks and database) are for children that stay.
  const long pid = spec.cgroup >= 0 ? clone_into(spec.cgroup) : ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (pid == 0) run_child(plan);
  const int clone_errno = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) {
    Error error = Error::from_errno(clone_errno, "start " + spec.program);
    if (clone_errno == EAGAIN) error = error.advice(kNoProcessAdvice);
    return std::unexpected(std::move(error));
  }

  error_pipe.write_end.reset();
  int child_errno = 0;
  auto got = sys::read_full(error_pipe.read_end.get(), std::as_writable_bytes(std::span(&child_errno, 1)));
  if (got && *got == sizeof child_errno) {
    (void)::waitpid(static_cast<pid_t>(pid), nullptr, 0);
    errno = child_errno;
    return fail_errno("execute {}", spec.program);
  }
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return fail_errno("pidfd_open {}", pid);
  return ChildProcess(static_cast<pid_t>(pid), std::move(pidfd));
}

Result<ExitStatus> ChildProcess::wait() {
  siginfo_t info = {};
  while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) < 0) {
    if (errno != EINTR) return fail_errno("wait for process {}", pid_);
  }
  return decode(info);
}

Result<std::optional<ExitStatus>> ChildProcess::try_wait() {
  siginfo_t info = {};
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG) < 0) return fail_errno("wait for process {}", pid_);
  if (info.si_pid == 0) return std::nullopt;
  return decode(info);
}

Result<std::string> find_program(const std::string& program) {
  const char* variable = std::getenv("PATH");
  std::string_view path = variable != nullptr ? variable : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  while (!path.empty()) {
    const std::size_t colon = std::min(path.find(':'), path.size());
    const std::string candidate = fmt::format("{}/{}", path.substr(0, colon), program);
    if (candidate.front() == '/' && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    path.remove_prefix(std::min(colon + 1, path.size()));
  }
  return fail(ErrorCode::kNotFound, "{} is not installed (not found in PATH)", program);
}

}  // namespace boxlite

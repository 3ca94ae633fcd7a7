#include "agent/launch.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <utility>

#include "agent/cgroup.h"
#include "agent/command_exec.h"
#include "agent/container_root.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

constexpr std::size_t kMaxReport = 8192;

struct Cloned {
  pid_t pid;  // 0: this is the child
  UniqueFd pidfd;
};

// A fork (the agent has one thread, so the child may use everything) into a cgroup and new namespaces.
Result<Cloned> clone_into(int cgroup, std::uint64_t namespaces) {
  int pidfd = -1;
  clone_args args = {};
  args.flags = namespaces | CLONE_PIDFD | CLONE_INTO_CGROUP;
  args.exit_signal = SIGCHLD;
  args.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  args.cgroup = static_cast<std::uint64_t>(cgroup);
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) return fail_errno("start a process in the container");
  return Cloned{static_cast<pid_t>(pid), UniqueFd(pidfd)};
}

void report(int pipe, std::string_view record) { (void)sys::write_all(pipe, record); }

[[noreturn]] void report_failure(int pipe, const Error& error) {
  std::string record = "E";
  record += static_cast<char>(error.code());
  record += error.message().substr(0, kMaxReport / 2);
  report(pipe, record);
  // What docker's users expect of a main command that could not be run.
  ::_exit(exit_status(error.code()));
}

void report_pid(int pipe) {
  const pid_t pid = ::getpid();
  std::string record = "P";
  record.append(reinterpret_cast<const char*>(&pid), sizeof pid);
  report(pipe, record);
}

// 0, 1, 2 become the session's; everything else is closed but `keep`, which execve closes.
void take_descriptors(const Session& session, std::initializer_list<int> keep) {
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) ::dup2(session.child_ends()[static_cast<std::size_t>(fd)].get(), fd);
  unsigned first = STDERR_FILENO + 1;
  std::array<unsigned, 4> kept = {};
  std::size_t count = 0;
  for (const int fd : keep) kept[count++] = static_cast<unsigned>(fd);
  std::sort(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(count));
  for (std::size_t i = 0; i < count; ++i) {
    if (kept[i] > first) ::syscall(SYS_close_range, first, kept[i] - 1, 0);
    first = kept[i] + 1;
  }
  ::syscall(SYS_close_range, first, ~0U, 0);
}

[[noreturn]] void run_container(const ContainerOptions& options, const Command& command, const Session& session, int pty_mount,
                                int pipe, int go) {
  Result<void> built = enter_container_cgroup();
  const int console = command.tty ? session.child_ends()[0].get() : -1;
  if (built) built = enter_container_root(options, command, pty_mount, console);
  if (!built) report_failure(pipe, built.error());
  take_descriptors(session, {pipe, go});
  report(pipe, "R");
  char byte = 0;
  const auto count = sys::read(go, std::as_writable_bytes(std::span(&byte, 1)));
  if (!count || *count == 0) ::_exit(0);  // the agent gave it up
  report_failure(pipe, become_command({command, options, options.init}));
}

void join_container(const Session& session, int main_pidfd, int pipe) {
  if (::setns(main_pidfd, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP) < 0) {
    report_failure(pipe, fail_errno("join the container").error());
  }
  take_descriptors(session, {pipe});
  report_pid(pipe);
}

[[noreturn]] void run_command(const ContainerOptions& options, const Command& command, const Session& session, int main_pidfd,
                              int pipe) {
  join_container(session, main_pidfd, pipe);
  report_failure(pipe, become_command({command, options}));
}

[[noreturn]] void run_copy(const CopyJob& job, const Session& session, int main_pidfd, int pipe) {
  join_container(session, main_pidfd, pipe);
  if (const auto ready = become_file_helper(); !ready) report_failure(pipe, ready.error());
  ::close(pipe);
  ::_exit(run_copy_job(job));
}

}  // namespace

Result<Launched> launch_container(const ContainerOptions& options, const Command& command, const Session& session,
                                  int pty_mount) {
  TRY_ASSIGN(sys::Pipe pipe, sys::pipe());
  TRY_ASSIGN(sys::Pipe go, sys::pipe());
  TRY_ASSIGN(const UniqueFd cgroup, open_container_cgroup());
  TRY_ASSIGN(Cloned cloned, clone_into(cgroup.get(), CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC));
  if (cloned.pid == 0) {
    go.write_end.reset();  // or it would wait for itself
    run_container(options, command, session, pty_mount, pipe.write_end.get(), go.read_end.get());
  }
  return Launched{cloned.pid, std::move(cloned.pidfd), std::move(pipe.read_end), std::move(go.write_end)};
}

Result<void> adopt_pid_namespace(int main_pidfd) {
  if (::setns(main_pidfd, CLONE_NEWPID) < 0) return fail_errno("adopt the container's pid namespace");
  return {};
}

Result<Launched> launch_command(const ContainerOptions& options, const Command& command, const Session& session, int main_pidfd) {
  TRY_ASSIGN(sys::Pipe pipe, sys::pipe());
  TRY_ASSIGN(const UniqueFd cgroup, create_session_cgroup(session.id()));
  Result<Cloned> clone = clone_into(cgroup.get(), 0);
  if (!clone) {
    (void)remove_session_cgroup(session.id());
    return std::unexpected(std::move(clone).error());
  }
  Cloned cloned = std::move(*clone);
  if (cloned.pid == 0) run_command(options, command, session, main_pidfd, pipe.write_end.get());
  return Launched{cloned.pid, std::move(cloned.pidfd), std::move(pipe.read_end), UniqueFd()};
}

Result<Launched> launch_copy(const CopyJob& job, const Session& session, int main_pidfd) {
  TRY_ASSIGN(sys::Pipe pipe, sys::pipe());
  TRY_ASSIGN(const UniqueFd cgroup, open_init_cgroup());
  TRY_ASSIGN(Cloned cloned, clone_into(cgroup.get(), 0));
  if (cloned.pid == 0) run_copy(job, session, main_pidfd, pipe.write_end.get());
  return Launched{cloned.pid, std::move(cloned.pidfd), std::move(pipe.read_end), UniqueFd()};
}

ReportReader::ReportReader(EventLoop& loop, UniqueFd pipe, Handler handler)
    : loop_(loop), pipe_(std::move(pipe)), handler_(std::move(handler)) {}

ReportReader::~ReportReader() { loop_.forget(pipe_.get()); }

Result<void> ReportReader::start() {
  TRY(sys::set_nonblocking(pipe_.get(), true));
  return loop_.watch(pipe_.get(), EPOLLIN, [this](std::uint32_t) { on_event(); });
}

void ReportReader::on_event() {
  std::array<char, kMaxReport> chunk;
  const auto count = sys::read(pipe_.get(), std::as_writable_bytes(std::span(chunk)));
  if (!count) return;
  if (*count > 0) {
    buffer_.append(chunk.data(), std::min(*count, kMaxReport - std::min(kMaxReport, buffer_.size())));
    return parse();
  }
  (void)loop_.set_interest(pipe_.get(), 0);
  Result<void> result;
  if (failed_) {
    const auto code = buffer_.empty() ? ErrorCode::kInternal : static_cast<ErrorCode>(buffer_[0]);
    result = std::unexpected(Error(code, buffer_.empty() ? "" : buffer_.substr(1)));
  }
  // The handler may destroy this object.
  const auto on_end = std::move(handler_.on_end);
  on_end(std::move(result));
}

void ReportReader::parse() {
  while (!failed_ && !buffer_.empty()) {
    switch (buffer_[0]) {
      case 'P':
        if (buffer_.size() < 1 + sizeof pid_) return;
        std::memcpy(&pid_, buffer_.data() + 1, sizeof pid_);
        buffer_.erase(0, 1 + sizeof pid_);
        break;
      case 'R':
        buffer_.erase(0, 1);
        handler_.on_ready();
        break;
      default:
        failed_ = true;
        buffer_.erase(0, 1);
    }
  }
}

}  // namespace boxlite::agent

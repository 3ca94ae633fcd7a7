#include "agent/launch.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <span>
#include <utility>

#include "agent/cgroup.h"
#include "agent/command_exec.h"
#include "agent/container_root.h"
#include "agent/tunnel.h"
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
void take_descriptors(const std::array<UniqueFd, 3>& session, std::initializer_list<int> keep) {
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) ::dup2(session[static_cast<std::size_t>(fd)].get(), fd);
  sys::close_all_but(std::span(keep.begin(), keep.size()));
}

// What comes with the one byte of send_plan(): the call, then the session's three descriptors, then a connection for each volume.
constexpr std::size_t kMostDescriptors = 253;  // of one message (SCM_MAX_FD)
constexpr std::size_t kBeforeVolumes = 4;

struct Plan {
  ContainerOptions options;
  Command command;
  std::array<UniqueFd, 3> stdio;
  std::vector<UniqueFd> connections;
};

union Control {
  cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int) * kMostDescriptors)];
};

std::vector<UniqueFd> received_descriptors(msghdr& message) {
  std::vector<UniqueFd> fds;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return fds;
  const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  for (std::size_t i = 0; i < count; ++i) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
    fds.emplace_back(fd);
  }
  return fds;
}

Result<Plan> parse_plan(std::vector<UniqueFd> fds) {
  if (fds.size() < kBeforeVolumes) return fail(ErrorCode::kInternal, "the container's plan is not whole");
  TRY_ASSIGN(const struct stat st, sys::fstat(fds[0].get()));
  std::string text(static_cast<std::size_t>(st.st_size), '\0');
  if (::pread(fds[0].get(), text.data(), text.size(), 0) != st.st_size) return fail_errno("read the container's plan");
  proto::Configure configure;
  if (!configure.ParseFromString(text)) return fail(ErrorCode::kInternal, "the container's plan cannot be read");
  Plan plan;
  TRY_ASSIGN(plan.options, parse_container(configure));
  TRY_ASSIGN(plan.command, parse_command(configure.main()));
  for (std::size_t i = 0; i < plan.stdio.size(); ++i) plan.stdio[i] = std::move(fds[i + 1]);
  if (fds.size() != kBeforeVolumes + plan.options.volumes.size())
    return fail(ErrorCode::kInternal, "the container's plan has the connections of other volumes");
  for (std::size_t i = 0; i < plan.options.volumes.size(); ++i) {
    plan.options.volumes[i].connection = fds[kBeforeVolumes + i].get();
    plan.connections.push_back(std::move(fds[kBeforeVolumes + i]));
  }
  return plan;
}

// nullopt: the agent gave the container up.
Result<std::optional<Plan>> receive_plan(int socket) {
  char byte = 0;
  iovec text = {&byte, 1};
  Control control = {};
  msghdr message = {};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  ssize_t count = 0;
  while ((count = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  if (count < 0) return fail_errno("receive the container's plan");
  if (count == 0) return std::nullopt;
  TRY_ASSIGN(Plan plan, parse_plan(received_descriptors(message)));
  return plan;
}

[[noreturn]] void run_container(bool privileged, int pty_mount, int pipe, int socket) {
  Result<void> built = enter_container_cgroup();
  if (built) built = build_container_root(privileged, pty_mount);
  if (!built) report_failure(pipe, built.error());
  sys::close_all_but(std::array{pipe, socket});
  report(pipe, "B");
  auto received = receive_plan(socket);
  if (!received) report_failure(pipe, received.error());
  if (!*received) ::_exit(0);
  Plan& plan = **received;
  const int console = plan.command.tty ? plan.stdio[0].get() : -1;
  if (const auto entered = enter_container_root(plan.options, plan.command, console); !entered)
    report_failure(pipe, entered.error());
  take_descriptors(plan.stdio, {pipe, socket});
  report(pipe, "R");
  char byte = 0;
  const auto count = sys::read(socket, std::as_writable_bytes(std::span(&byte, 1)));
  if (!count || *count == 0) ::_exit(0);  // the agent gave it up
  report_failure(pipe, become_command({plan.command, plan.options, plan.options.init}));
}

void join_container(const Session& session, int main_pidfd, int pipe) {
  if (::setns(main_pidfd, CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP) < 0) {
    report_failure(pipe, fail_errno("join the container").error());
  }
  take_descriptors(session.child_ends(), {pipe});
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

[[noreturn]] void run_tunnel(std::uint16_t port, const Session& session, int main_pidfd, int pipe) {
  join_container(session, main_pidfd, pipe);
  if (const auto ready = become_file_helper(); !ready) report_failure(pipe, ready.error());
  const auto socket = connect_loopback(port);
  if (!socket) report_failure(pipe, socket.error());
  ::close(pipe);
  ::_exit(relay_tunnel(socket->get()));
}

}  // namespace

Result<Launched> launch_container(bool privileged, int pty_mount) {
  TRY_ASSIGN(sys::Pipe pipe, sys::pipe());
  TRY_ASSIGN(sys::SocketPair plan, sys::socket_pair());
  TRY_ASSIGN(const UniqueFd cgroup, open_container_cgroup());
  TRY_ASSIGN(Cloned cloned, clone_into(cgroup.get(), CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC));
  if (cloned.pid == 0) {
    plan.a.reset();  // or it would wait for itself
    run_container(privileged, pty_mount, pipe.write_end.get(), plan.b.get());
  }
  return Launched{cloned.pid, std::move(cloned.pidfd), std::move(pipe.read_end), std::move(plan.a)};
}

Result<void> send_plan(int plan, const proto::Configure& configure, const Session& session,
                       const std::vector<VolumeMount>& volumes) {
  const UniqueFd call(static_cast<int>(::syscall(SYS_memfd_create, "configure", MFD_CLOEXEC)));
  if (!call) return fail_errno("memfd_create");
  TRY(sys::write_all(call.get(), configure.SerializeAsString()));
  std::vector<int> fds = {call.get()};
  for (const UniqueFd& fd : session.child_ends()) fds.push_back(fd.get());
  for (const VolumeMount& volume : volumes) fds.push_back(volume.connection);
  if (fds.size() > kMostDescriptors)
    return fail(ErrorCode::kResourceExhausted, "{} volumes are more than the {} that a box can have", volumes.size(),
                kMostDescriptors - kBeforeVolumes);
  char byte = 'p';
  iovec text = {&byte, 1};
  Control control = {};
  msghdr message = {};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
  std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  if (::sendmsg(plan, &message, MSG_NOSIGNAL) < 0) return fail_errno("send the container's plan");
  return {};
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

Result<Launched> launch_tunnel(std::uint16_t port, const Session& session, int main_pidfd) {
  TRY_ASSIGN(sys::Pipe pipe, sys::pipe());
  TRY_ASSIGN(const UniqueFd cgroup, open_init_cgroup());
  TRY_ASSIGN(Cloned cloned, clone_into(cgroup.get(), 0));
  if (cloned.pid == 0) run_tunnel(port, session, main_pidfd, pipe.write_end.get());
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
      case 'B':
        buffer_.erase(0, 1);
        if (handler_.on_built) handler_.on_built();
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

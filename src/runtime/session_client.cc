#include "runtime/session_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "base/sys.h"
#include "portal/message_codec.h"
#include "runtime/control.h"
#include "runtime/printable.h"
#include "runtime/session_view.h"

namespace boxlite {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxFailureText = 1024;
constexpr std::size_t kMaxSessionId = 64;

/// How long a call may take, and what ends it early.
struct Patience {
  Clock::time_point deadline;
  int interrupt_fd;
};

Result<void> wait_for(int socket, short events, const Patience& patience) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(patience.deadline - Clock::now());
  const auto timeout = std::clamp(left, std::chrono::milliseconds(0), std::chrono::milliseconds(std::chrono::hours(24)));
  std::array<pollfd, 2> entries = {pollfd{socket, events, 0}, pollfd{patience.interrupt_fd, POLLIN, 0}};
  const int seen = ::poll(entries.data(), entries.size(), static_cast<int>(timeout.count()));
  if (seen < 0 && errno != EINTR) return fail_errno("wait for the agent");
  if (seen == 0) return fail(ErrorCode::kUnavailable, "its agent does not reply");
  if (seen > 0 && entries[1].revents != 0) return fail(ErrorCode::kUnavailable, "interrupted");
  return {};
}

std::unexpected<Error> connection_lost() {
  return fail(ErrorCode::kUnavailable, "it ended, or its agent closed the call without a reply");
}

Result<void> send_all(int socket, std::string_view data, const Patience& patience) {
  while (!data.empty()) {
    const ssize_t count = ::send(socket, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      data.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {
      TRY(wait_for(socket, POLLOUT, patience));
    } else if (errno != EINTR) {
      return connection_lost();
    }
  }
  return {};
}

Result<std::string> receive_exactly(int socket, std::size_t size, const Patience& patience) {
  std::string data(size, '\0');
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t count = ::recv(socket, data.data() + filled, size - filled, MSG_DONTWAIT);
    if (count > 0) {
      filled += static_cast<std::size_t>(count);
    } else if (count < 0 && errno == EAGAIN) {
      TRY(wait_for(socket, POLLIN, patience));
    } else if (count == 0 || errno != EINTR) {
      return connection_lost();
    }
  }
  return data;
}

Result<void> check_started(const proto::Started& started) {
  const std::string& id = started.session_id();
  const bool sane = !id.empty() && id.size() <= kMaxSessionId && std::ranges::all_of(id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
  if (!sane) return fail(ErrorCode::kCorrupt, "the agent named a session \"{}\"", printable(id, kMaxFailureText));
  return {};
}

}  // namespace

Result<SessionView> open_session(const BoxAddress& box, const proto::Call& call, std::chrono::milliseconds timeout,
                                 int interrupt_fd) {
  SessionView view;
  view.box_directory = box.directory;
  view.box_name = box.name;
  TRY_ASSIGN(view.socket, open_agent_stream(box.directory));
  TRY_ASSIGN(const proto::Reply reply, agent_call(view.socket.get(), call, timeout, interrupt_fd));
  if (!reply.has_started()) return fail(ErrorCode::kCorrupt, "the agent of box {} replied without a session", view.box_name);
  TRY(check_started(reply.started()));
  view.session_id = reply.started().session_id();
  view.tty = reply.started().tty();
  view.open_stdin = reply.started().has_stdin();
  view.stdout_end = reply.started().stdout_end();
  return view;
}

Result<proto::Reply> agent_call(int socket, const proto::Call& call, std::chrono::milliseconds timeout, int interrupt_fd) {
  const Patience patience = {.deadline = Clock::now() + timeout, .interrupt_fd = interrupt_fd};
  TRY_ASSIGN(const std::string message, portal::encode_message(call));
  // The reply may come before the call is sent: an agent that refuses it early. Then the rest of the call has nobody to read it.
  const auto sent = send_all(socket, message, patience);

  portal::MessageReader reader;
  proto::Reply reply;
  bool whole = false;
  while (!whole) {
    const std::size_t missing = reader.missing();
    auto data = receive_exactly(socket, missing, patience);
    if (!data) return std::unexpected(sent ? std::move(data).error() : sent.error());
    reader.feed(std::as_bytes(std::span(*data)));
    TRY_ASSIGN(whole, reader.next(reply));
  }
  if (reply.has_failure()) {
    return std::unexpected(
        Error(error_code_from_name(reply.failure().code()), printable(reply.failure().message(), kMaxFailureText)));
  }
  if (reply.reply_case() == proto::Reply::REPLY_NOT_SET) return fail(ErrorCode::kCorrupt, "the agent's reply says nothing");
  return reply;
}

Result<proto::Reply> agent_call(const std::string& box_directory, const proto::Call& call, std::chrono::milliseconds timeout) {
  TRY_ASSIGN(const UniqueFd socket, open_agent_stream(box_directory));
  return agent_call(socket.get(), call, timeout);
}

Result<ExitInfo> exit_info(const proto::Exited& exited) {
  const bool sane = exited.code() >= 0 && exited.code() <= 255 && exited.signal() >= 0 && exited.signal() <= 64 &&
                    (exited.signal() == 0 || exited.code() == 128 + exited.signal());
  if (!sane) return fail(ErrorCode::kCorrupt, "an exit with code {} and signal {}", exited.code(), exited.signal());
  return ExitInfo{
      .code = exited.code(), .signal = exited.signal(), .oom_killed = exited.oom_killed(), .timed_out = exited.timed_out()};
}

proto::Process to_process(const ExecOptions& options) {
  proto::Process process;
  for (const std::string& arg : options.command) process.add_args(arg);
  for (const std::string& variable : options.env) process.add_env(variable);
  process.set_working_dir(options.working_dir);
  process.set_user(options.user);
  process.set_tty(options.tty);
  process.set_rows(options.rows);
  process.set_cols(options.columns);
  process.set_open_stdin(options.open_stdin);
  process.set_timeout_ms(static_cast<std::uint64_t>(options.timeout.count()));
  return process;
}

Result<Execution> start_exec(const BoxAddress& box, const ExecOptions& options, std::chrono::milliseconds timeout) {
  if (options.timeout < std::chrono::milliseconds(0)) return fail(ErrorCode::kInvalidArgument, "a timeout before the start");
  if (options.command.empty()) return fail(ErrorCode::kInvalidArgument, "no command was given to run in the box");
  proto::Call call;
  *call.mutable_exec()->mutable_process() = to_process(options);
  TRY_ASSIGN(SessionView view, open_session(box, call, timeout));
  view.tty = options.tty;
  view.open_stdin = options.open_stdin;
  return make_execution(std::move(view));
}

Result<Execution> open_tunnel(const BoxAddress& box, std::uint16_t port) {
  proto::Call call;
  call.mutable_tunnel()->set_port(port);
  TRY_ASSIGN(SessionView view, open_session(box, call, kAgentTimeout));
  view.open_stdin = true;
  return make_execution(std::move(view));
}

Result<Execution> attach_session(const BoxAddress& box, const AttachOptions& options, std::chrono::milliseconds timeout) {
  proto::Call call;
  call.mutable_attach()->set_session_id(options.session_id);
  call.mutable_attach()->set_stdout_offset(options.stdout_offset);
  call.mutable_attach()->set_stderr_offset(options.stderr_offset);
  call.mutable_attach()->set_no_stdin(!options.input);
  TRY_ASSIGN(SessionView view, open_session(box, call, timeout));
  view.open_stdin = view.open_stdin && options.input;
  view.stdout_at = {.offset = options.stdout_offset, .may_skip = true};
  view.stderr_at = {.offset = options.stderr_offset, .may_skip = true};
  return make_execution(std::move(view));
}

}  // namespace boxlite

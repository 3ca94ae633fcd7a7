#include "runtime/session_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
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

std::string box_of(const std::string& box_directory) { return box_directory.substr(box_directory.rfind('/') + 1); }

Result<void> wait_for(int socket, short events, Clock::time_point deadline) {
  const auto left = std::max(std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()), std::chrono::milliseconds(0));
  TRY_ASSIGN(const short seen, sys::poll_one(socket, events, left));
  if (seen == 0) return fail(ErrorCode::kUnavailable, "its agent does not reply; if that goes on, end the box: boxlite rm -f");
  return {};
}

std::unexpected<Error> connection_lost() {
  return fail(ErrorCode::kUnavailable,
              "it ended, or its agent closed the call without a reply; `boxlite ls -a` says what became of it");
}

Result<void> send_all(int socket, std::string_view data, Clock::time_point deadline) {
  while (!data.empty()) {
    const ssize_t count = ::send(socket, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      data.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {
      TRY(wait_for(socket, POLLOUT, deadline));
    } else if (errno != EINTR) {
      return connection_lost();
    }
  }
  return {};
}

Result<std::string> receive_exactly(int socket, std::size_t size, Clock::time_point deadline) {
  std::string data(size, '\0');
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t count = ::recv(socket, data.data() + filled, size - filled, MSG_DONTWAIT);
    if (count > 0) {
      filled += static_cast<std::size_t>(count);
    } else if (count < 0 && errno == EAGAIN) {
      TRY(wait_for(socket, POLLIN, deadline));
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

Result<SessionView> open_session(const std::string& box_directory, const proto::Call& call, std::chrono::milliseconds timeout) {
  SessionView view;
  view.box_directory = box_directory;
  view.box_name = box_of(box_directory);
  TRY_ASSIGN(view.socket, open_agent_stream(box_directory));
  TRY_ASSIGN(const proto::Reply reply, agent_call(view.socket.get(), call, timeout));
  if (!reply.has_started()) return fail(ErrorCode::kCorrupt, "the agent of box {} replied without a session", view.box_name);
  TRY(check_started(reply.started()));
  view.session_id = reply.started().session_id();
  view.tty = reply.started().tty();
  view.open_stdin = reply.started().has_stdin();
  return view;
}

Result<proto::Reply> agent_call(int socket, const proto::Call& call, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  TRY_ASSIGN(const std::string message, portal::encode_message(call));
  // The reply may come before the call is sent: an agent that refuses it early. Then the rest of the call has nobody to read it.
  const auto sent = send_all(socket, message, deadline);

  portal::MessageReader reader;
  proto::Reply reply;
  bool whole = false;
  while (!whole) {
    const std::size_t missing = reader.missing();
    auto data = receive_exactly(socket, missing, deadline);
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

Result<Execution> start_exec(const std::string& box_directory, const ExecOptions& options, std::chrono::milliseconds timeout) {
  if (options.timeout < std::chrono::milliseconds(0)) return fail(ErrorCode::kInvalidArgument, "a timeout before the start");
  if (options.command.empty()) return fail(ErrorCode::kInvalidArgument, "no command was given to run in the box");
  proto::Call call;
  *call.mutable_exec()->mutable_process() = to_process(options);
  TRY_ASSIGN(SessionView view, open_session(box_directory, call, timeout));
  view.tty = options.tty;
  view.open_stdin = options.open_stdin;
  return make_execution(std::move(view));
}

Result<Execution> attach_session(const std::string& box_directory, const AttachOptions& options,
                                 std::chrono::milliseconds timeout) {
  proto::Call call;
  call.mutable_attach()->set_session_id(options.session_id);
  call.mutable_attach()->set_stdout_offset(options.stdout_offset);
  call.mutable_attach()->set_stderr_offset(options.stderr_offset);
  call.mutable_attach()->set_no_stdin(!options.input);
  TRY_ASSIGN(SessionView view, open_session(box_directory, call, timeout));
  view.open_stdin = view.open_stdin && options.input;
  view.stdout_at = {.offset = options.stdout_offset, .may_skip = true};
  view.stderr_at = {.offset = options.stderr_offset, .may_skip = true};
  return make_execution(std::move(view));
}

}  // namespace boxlite

#include "runtime/control.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <string_view>

#include "base/sys.h"
#include "base/unix_socket.h"

namespace boxlite {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxControlAnswer = 64U << 10U;
constexpr std::chrono::seconds kConnectTimeout{5};

std::chrono::milliseconds left_until(Clock::time_point deadline) {
  return std::max(std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()), std::chrono::milliseconds(0));
}

Result<UniqueFd> connect_shim(const std::string& box_directory) {
  auto socket = connect_unix(box_directory, kPortalSocket);
  if (socket) return socket;
  const Error& error = socket.error();
  if (error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kUnavailable) {
    return fail(ErrorCode::kUnavailable, "it is not running, or it is only just starting: {}", error.message());
  }
  return socket;
}

/// A shim that has gone shows as an error of send or as end-of-file: both mean the same to the caller.
Result<void> send_all(int socket, std::string_view text, Clock::time_point deadline) {
  while (!text.empty()) {
    const ssize_t count = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      text.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {
      TRY_ASSIGN(const short events, sys::poll_one(socket, POLLOUT, left_until(deadline)));
      if (events == 0) return fail(ErrorCode::kUnavailable, "its shim does not read");
    } else if (errno != EINTR) {
      return fail(ErrorCode::kUnavailable, "its shim closed the connection");
    }
  }
  return {};
}

Result<std::string> read_line(int socket, Clock::time_point deadline) {
  std::string line;
  char part[4096];
  for (;;) {
    const ssize_t count = ::recv(socket, part, sizeof part, MSG_DONTWAIT);
    if (count > 0) {
      line.append(part, static_cast<std::size_t>(count));
      if (const auto end = line.find('\n'); end != std::string::npos) {
        line.resize(end);
        return line;
      }
      if (line.size() > kMaxControlAnswer)
        return fail(ErrorCode::kCorrupt, "its shim's answer is longer than {} bytes", kMaxControlAnswer);
    } else if (count < 0 && errno == EAGAIN) {
      TRY_ASSIGN(const short events, sys::poll_one(socket, POLLIN, left_until(deadline)));
      if (events == 0) return fail(ErrorCode::kUnavailable, "its shim does not answer");
    } else if (count == 0 || errno != EINTR) {
      return fail(ErrorCode::kUnavailable, "its shim closed the connection without an answer");
    }
  }
}

Result<Json> ask(int socket, const Json& call, Clock::time_point deadline) {
  TRY(send_all(socket, "control 1\n" + dump_json(call) + "\n", deadline));
  TRY_ASSIGN(const std::string line, read_line(socket, deadline));
  return parse_json(line, "its shim's answer");
}

}  // namespace

Result<UniqueFd> open_agent_stream(const std::string& box_directory) {
  TRY_ASSIGN(UniqueFd socket, connect_shim(box_directory));
  TRY(send_all(socket.get(), "agent 1\n", Clock::now() + kConnectTimeout));
  return socket;
}

Result<UniqueFd> open_checkpoint(const std::string& box_directory) {
  TRY_ASSIGN(UniqueFd socket, connect_shim(box_directory));
  TRY(send_all(socket.get(), "checkpoint 1\n", Clock::now() + kConnectTimeout));
  return socket;
}

Result<Json> control_call(const std::string& box_directory, const Json& call, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  TRY_ASSIGN(const UniqueFd socket, connect_shim(box_directory));
  TRY_ASSIGN(Json answer, ask(socket.get(), call, deadline));
  if (const auto error = answer.is_object() ? answer.find("error") : answer.end(); error != answer.end()) {
    TRY_ASSIGN(const auto code, json_get<std::string>(*error, "code", "the shim's error"));
    TRY_ASSIGN(auto message, json_get<std::string>(*error, "message", "the shim's error"));
    return std::unexpected(Error(error_code_from_name(code), std::move(message)));
  }
  return answer;
}

}  // namespace boxlite

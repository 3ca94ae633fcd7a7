#include "cli/tunnel.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <span>
#include <string>
#include <variant>

#include "base/sys.h"

namespace boxlite::cli {
namespace {

constexpr std::size_t kChunk = 64 * 1024;

class Relay {
 public:
  Relay(Execution& session, int socket) : session_(session), socket_(socket) {}
  Result<void> run();

 private:
  Result<void> take_from_box();
  Result<void> give_to_box();
  Result<void> take_from_socket();
  Result<void> give_to_socket();
  Result<void> wait();

  Execution& session_;
  int socket_;
  std::string to_box_;
  std::string to_socket_;
  std::string complaint_;
  bool socket_ended_ = false;  // it sends no more
  bool told_ = false;          // so the box knows
  std::optional<ExitInfo> exit_;
};

Result<void> Relay::run() {
  for (;;) {
    TRY(take_from_box());
    TRY(give_to_socket());
    if (exit_ && to_socket_.empty()) break;
    TRY(give_to_box());
    TRY(take_from_box());  // what the session holds already, poll does not tell
    TRY(wait());
    TRY(take_from_socket());
  }
  ::shutdown(socket_, SHUT_WR);
  if (exit_->code == 0) return {};
  return fail(ErrorCode::kUnavailable, "{}", complaint_.empty() ? "the connection in the box was ended" : complaint_);
}

Result<void> Relay::take_from_box() {
  while (to_socket_.empty() && !exit_) {
    TRY_ASSIGN(std::optional<SessionEvent> event, session_.next(std::chrono::milliseconds(0)));
    if (!event) return {};
    if (auto* chunk = std::get_if<OutputChunk>(&*event)) {
      (chunk->stream == OutputStream::kStdout ? to_socket_ : complaint_) = std::move(chunk->data);
    } else {
      exit_ = std::get<ExitInfo>(*event);
    }
  }
  return {};
}

Result<void> Relay::give_to_box() {
  while (!to_box_.empty() && !exit_) {
    TRY_ASSIGN(const std::size_t count, session_.write_stdin(std::as_bytes(std::span(to_box_))));
    if (count == 0) return {};
    to_box_.erase(0, count);
  }
  if (socket_ended_ && to_box_.empty() && !told_ && !exit_) {
    told_ = true;
    return session_.close_stdin();
  }
  return {};
}

Result<void> Relay::take_from_socket() {
  if (socket_ended_ || !to_box_.empty()) return {};
  to_box_.resize(kChunk);
  const ssize_t count = ::recv(socket_, to_box_.data(), to_box_.size(), MSG_DONTWAIT);
  const int error = errno;
  to_box_.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  if (count == 0) socket_ended_ = true;
  if (count < 0 && error != EAGAIN && error != EINTR) return std::unexpected(Error::from_errno(error, "receive"));
  return {};
}

Result<void> Relay::give_to_socket() {
  while (!to_socket_.empty()) {
    const ssize_t count = ::send(socket_, to_socket_.data(), to_socket_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EAGAIN || errno == EINTR) return {};
      return fail_errno("send");
    }
    to_socket_.erase(0, static_cast<std::size_t>(count));
  }
  return {};
}

Result<void> Relay::wait() {
  if (exit_) {
    if (!to_socket_.empty()) TRY(sys::poll_one(socket_, POLLOUT, std::nullopt));
    return {};
  }
  // Not while there is output to be taken first: nothing would read what poll tells of, again and again.
  short session_events = to_socket_.empty() ? POLLIN : 0;
  if (session_.wants_write()) session_events |= POLLOUT;
  short socket_events = to_box_.empty() && !socket_ended_ ? POLLIN : 0;
  if (!to_socket_.empty()) socket_events |= POLLOUT;
  std::array<pollfd, 2> waited = {pollfd{session_.poll_fd(), session_events, 0},
                                  pollfd{socket_events == 0 ? -1 : socket_, socket_events, 0}};
  if (::poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) return fail_errno("poll");
  return {};
}

}  // namespace

Result<void> relay_tunnel(Execution& session, int socket) { return Relay(session, socket).run(); }

}  // namespace boxlite::cli

// One view of a session: the socket of a bridged stream (control.h), non-blocking, with SessionInput going out and SessionOutput
// coming in (proto/agent.proto).
//
// Both directions are driven by whoever calls: there is no thread. write_stdin() sends what the socket takes and queues the rest
// up to a bound. next() sends from the queue too, so that a caller which only reads does not leave its last input behind, and so
// does wants_write(), for one that polls and has no room for output now. Only next() reads, and only when there are no events:
// they hold what one read brought.
//
// When the connection breaks, what has arrived is delivered first: the exit may be in it. Input that can no longer be sent is
// dropped without an error, as by a pipe's reader that ends: next() tells how the command or its box came to its end.
#include "boxlite/execution.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <utility>

#include "base/sys.h"
#include "portal/message_codec.h"
#include "runtime/control.h"
#include "runtime/session_client.h"
#include "runtime/session_view.h"

namespace boxlite {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxQueuedInput = 256U << 10U;
constexpr std::size_t kInputMessage = 32U << 10U;
constexpr std::chrono::milliseconds kLongestWait = std::chrono::hours(24 * 20);  // poll(2) counts milliseconds in an int

}  // namespace

class Execution::Impl {
 public:
  explicit Impl(SessionView view) : view_(std::move(view)) {}

  const std::string& session_id() const { return view_.session_id; }
  bool tty() const { return view_.tty; }
  bool takes_stdin() const { return view_.open_stdin; }
  std::uint64_t replay_end() const { return view_.stdout_end; }
  int poll_fd() const { return view_.socket.get(); }
  bool wants_write() {
    flush();
    return !input_.empty();
  }
  bool has_event() const { return !events_.empty() || failure_.has_value(); }

  Result<std::optional<SessionEvent>> next(std::optional<std::chrono::milliseconds> timeout);
  Result<std::size_t> write_stdin(std::span<const std::byte> data);
  Result<void> close_stdin();
  Result<void> signal(int number);
  Result<void> resize(unsigned rows, unsigned columns);

 private:
  Result<bool> receive();
  Result<void> take_messages();
  Result<void> take_chunk(proto::Chunk& chunk);
  Result<void> take_exit(const proto::Exited& exited);
  Result<void> queue(const proto::SessionInput& input);
  void flush();

  SessionView view_;
  portal::MessageReader reader_;
  std::deque<SessionEvent> events_;
  std::optional<Error> failure_;  // comes after the events
  bool ended_ = false;            // the exit is in the events, or has been delivered
  std::string input_;             // encoded SessionInput that waits for the socket
  bool input_closed_ = false;     // by close_stdin()
  bool input_lost_ = false;       // the other side takes none any more
};

Result<std::optional<SessionEvent>> Execution::Impl::next(std::optional<std::chrono::milliseconds> timeout) {
  const auto deadline = Clock::now() + std::min(timeout.value_or(kLongestWait), kLongestWait);
  for (;;) {
    if (!events_.empty()) {
      SessionEvent event = std::move(events_.front());
      events_.pop_front();
      return event;
    }
    if (failure_) return std::unexpected(*failure_);
    if (ended_) return fail(ErrorCode::kInvalidState, "the command has ended, and its exit has been told");
    flush();
    auto progress = receive();
    if (!progress) {
      failure_ = std::move(progress).error();
      continue;
    }
    if (*progress) continue;
    std::optional<std::chrono::milliseconds> left;
    if (timeout)
      left = std::max(std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()), std::chrono::milliseconds(0));
    const auto wanted = static_cast<short>(input_.empty() ? POLLIN : POLLIN | POLLOUT);
    TRY_ASSIGN(const short seen, sys::poll_one(view_.socket.get(), wanted, left));
    if (seen == 0) return std::nullopt;
  }
}

/// One read and the messages in it. false: there is nothing to read now.
Result<bool> Execution::Impl::receive() {
  std::array<std::byte, 64U << 10U> buffer;
  const ssize_t count = ::recv(view_.socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return errno == EINTR;
  if (count <= 0) {
    return fail(ErrorCode::kUnavailable,
                "box {} ended or was removed before the command's exit was seen; `boxlite ls -a` says which", view_.box_name);
  }
  reader_.feed(std::span(buffer).first(static_cast<std::size_t>(count)));
  if (auto taken = take_messages(); !taken) {
    return std::unexpected(std::move(taken).error().context(fmt::format("box {} broke the protocol", view_.box_name)));
  }
  return true;
}

Result<void> Execution::Impl::take_messages() {
  while (!ended_) {
    proto::SessionOutput output;
    TRY_ASSIGN(const bool whole, reader_.next(output));
    if (!whole) return {};
    switch (output.output_case()) {
      case proto::SessionOutput::kChunk:
        TRY(take_chunk(*output.mutable_chunk()));
        break;
      case proto::SessionOutput::kExited:
        TRY(take_exit(output.exited()));
        break;
      case proto::SessionOutput::OUTPUT_NOT_SET:
        return fail(ErrorCode::kCorrupt, "an output message that says nothing");
    }
  }
  return {};
}

Result<void> Execution::Impl::take_chunk(proto::Chunk& chunk) {
  const std::size_t size = chunk.data().size();
  if (size > portal::kMaxChunk) return fail(ErrorCode::kCorrupt, "a chunk of {} bytes", size);
  if (chunk.stream() != proto::Chunk::STDOUT && chunk.stream() != proto::Chunk::STDERR) {
    return fail(ErrorCode::kCorrupt, "output on stream {}", static_cast<int>(chunk.stream()));
  }
  ExpectedOffset& expected = chunk.stream() == proto::Chunk::STDOUT ? view_.stdout_at : view_.stderr_at;
  if (chunk.offset() < expected.offset || (chunk.offset() > expected.offset && !expected.may_skip)) {
    return fail(ErrorCode::kCorrupt, "output at byte {} where byte {} comes next", chunk.offset(), expected.offset);
  }
  if (chunk.offset() > UINT64_MAX - size) return fail(ErrorCode::kCorrupt, "output at byte {}", chunk.offset());
  if (size == 0) return {};
  expected = {.offset = chunk.offset() + size, .may_skip = false};
  const auto stream = chunk.stream() == proto::Chunk::STDOUT ? OutputStream::kStdout : OutputStream::kStderr;
  events_.emplace_back(OutputChunk{stream, std::move(*chunk.mutable_data()), chunk.offset()});
  return {};
}

Result<void> Execution::Impl::take_exit(const proto::Exited& exited) {
  TRY_ASSIGN(const ExitInfo info, exit_info(exited));
  events_.emplace_back(info);
  ended_ = true;
  input_lost_ = true;
  input_.clear();
  return {};
}

Result<std::size_t> Execution::Impl::write_stdin(std::span<const std::byte> data) {
  if (!view_.open_stdin) return fail(ErrorCode::kInvalidState, "this command was started without an open standard input");
  if (input_closed_) return fail(ErrorCode::kInvalidState, "the command's standard input has been closed already");
  flush();
  if (input_lost_) return data.size();
  std::size_t taken = 0;
  while (taken < data.size() && input_.size() < kMaxQueuedInput) {
    const std::size_t room = kMaxQueuedInput - input_.size();
    const auto part = data.subspan(taken, std::min({data.size() - taken, room, kInputMessage}));
    proto::SessionInput input;
    input.set_data(part.data(), part.size());
    TRY(queue(input));
    taken += part.size();
    flush();
  }
  return taken;
}

Result<void> Execution::Impl::close_stdin() {
  if (std::exchange(input_closed_, true) || !view_.open_stdin || input_lost_) return {};
  proto::SessionInput input;
  input.mutable_eof();
  TRY(queue(input));
  flush();
  return {};
}

Result<void> Execution::Impl::queue(const proto::SessionInput& input) {
  TRY_ASSIGN(const std::string message, portal::encode_message(input));
  input_ += message;
  return {};
}

void Execution::Impl::flush() {
  std::size_t sent = 0;
  while (sent < input_.size()) {
    const ssize_t count = ::send(view_.socket.get(), input_.data() + sent, input_.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      sent += static_cast<std::size_t>(count);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      input_lost_ = true;
      input_.clear();
      return;
    }
  }
  input_.erase(0, sent);
}

Result<void> Execution::Impl::signal(int number) {
  proto::Call call;
  call.mutable_signal()->set_session_id(view_.session_id);
  call.mutable_signal()->set_signal(number);
  TRY(agent_call(view_.box_directory, call));
  return {};
}

Result<void> Execution::Impl::resize(unsigned rows, unsigned columns) {
  proto::Call call;
  call.mutable_resize()->set_session_id(view_.session_id);
  call.mutable_resize()->set_rows(rows);
  call.mutable_resize()->set_cols(columns);
  TRY(agent_call(view_.box_directory, call));
  return {};
}

Execution make_execution(SessionView view) { return Execution(std::make_unique<Execution::Impl>(std::move(view))); }

Execution::Execution(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Execution::Execution(Execution&&) noexcept = default;
Execution& Execution::operator=(Execution&&) noexcept = default;
Execution::~Execution() = default;

const std::string& Execution::session_id() const { return impl_->session_id(); }
Result<std::optional<SessionEvent>> Execution::next(std::optional<std::chrono::milliseconds> timeout) {
  return impl_->next(timeout);
}
Result<std::size_t> Execution::write_stdin(std::span<const std::byte> data) { return impl_->write_stdin(data); }
Result<void> Execution::close_stdin() { return impl_->close_stdin(); }
Result<void> Execution::signal(int number) { return impl_->signal(number); }
Result<void> Execution::resize(unsigned rows, unsigned columns) { return impl_->resize(rows, columns); }
bool Execution::tty() const { return impl_->tty(); }
bool Execution::takes_stdin() const { return impl_->takes_stdin(); }
std::uint64_t Execution::replay_end() const { return impl_->replay_end(); }
int Execution::poll_fd() const { return impl_->poll_fd(); }
bool Execution::wants_write() const { return impl_->wants_write(); }
bool Execution::has_event() const { return impl_->has_event(); }

}  // namespace boxlite

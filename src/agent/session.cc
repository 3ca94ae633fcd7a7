#include "agent/session.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>

#include "base/sys.h"

namespace boxlite::agent {
namespace {

constexpr std::size_t kStreamReadSize = std::size_t{64} * 1024;
// After the exit a terminal is read until it is empty, a pipe's contents are counted: this bounds what a child left behind can
// add.
constexpr std::size_t kMaxDrain = std::size_t{1024} * 1024;

Result<UniqueFd> duplicate(int fd) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return fail_errno("dup");
  return copy;
}

}  // namespace

Result<SessionIo> SessionIo::pipes(bool open_stdin) {
  SessionIo io;
  if (open_stdin) {
    TRY_ASSIGN(sys::Pipe pipe, sys::pipe());
    TRY(sys::set_nonblocking(pipe.write_end.get(), true));
    io.input = std::move(pipe.write_end);
    io.child[0] = std::move(pipe.read_end);
  } else {
    TRY_ASSIGN(io.child[0], sys::open("/dev/null", O_RDWR));
  }
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    TRY_ASSIGN(sys::Pipe pipe, sys::pipe());
    TRY(sys::set_nonblocking(pipe.read_end.get(), true));
    io.output[stream] = std::move(pipe.read_end);
    io.child[stream + 1] = std::move(pipe.write_end);
  }
  return io;
}

Result<SessionIo> SessionIo::terminal(int pty_directory, const Command& command) {
  SessionIo io;
  io.tty = true;
  TRY_ASSIGN(io.output[0], sys::openat(pty_directory, "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK));
  const int master = io.output[0].get();
  const int unlock = 0;
  if (::ioctl(master, TIOCSPTLCK, &unlock) < 0) return fail_errno("unlock the terminal");
  // By ioctl, not by path: the path belongs to the container.
  io.slave = UniqueFd(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!io.slave) return fail_errno("open the terminal's slave");
  const winsize size = {command.rows, command.columns, 0, 0};
  if (command.rows != 0 && ::ioctl(master, TIOCSWINSZ, &size) < 0) return fail_errno("set the terminal's size");
  if (command.open_stdin) {
    TRY_ASSIGN(io.input, duplicate(master));
  }
  for (UniqueFd& fd : io.child) {
    TRY_ASSIGN(fd, duplicate(io.slave.get()));
  }
  return io;
}

Session::Session(EventLoop& loop, std::string id, SessionIo io, Handler handler)
    : loop_(loop), id_(std::move(id)), io_(std::move(io)), handler_(std::move(handler)), has_stdin_(io_.input) {}

Session::~Session() {
  for (std::size_t stream = 0; stream < kStreams; ++stream) close_output(stream);
  close_input();
}

Result<void> Session::started(pid_t pid, UniqueFd pidfd) {
  pid_ = pid;
  pidfd_ = std::move(pidfd);
  for (UniqueFd& fd : io_.child) fd.reset();
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    if (!io_.output[stream]) continue;
    TRY(loop_.watch(io_.output[stream].get(), EPOLLIN, [this, stream](std::uint32_t) { read_output(stream); }));
  }
  if (io_.input) TRY(loop_.watch(io_.input.get(), 0, [this](std::uint32_t) { write_queued(); }));
  return {};
}

// ---- Output

std::size_t Session::room(std::size_t stream) const {
  std::optional<std::uint64_t> slowest;
  for (const Reader* reader : readers_) {
    slowest = std::min(reader->offset[stream], slowest.value_or(reader->offset[stream]));
  }
  return rings_[stream].room(slowest);
}

void Session::read_output(std::size_t stream) {
  if (exit_) return drain_output();
  const int fd = io_.output[stream].get();
  const std::size_t limit = std::min(room(stream), kStreamReadSize);
  if (limit == 0) {
    (void)loop_.set_interest(fd, 0);  // until advanced()
    return;
  }
  static std::array<char, kStreamReadSize> buffer;
  const ssize_t count = ::read(fd, buffer.data(), limit);
  if (count > 0) {
    rings_[stream].append(std::span(buffer.data(), static_cast<std::size_t>(count)));
  } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
    close_output(stream);
  } else {
    return;
  }
  handler_.on_progress(*this);
}

void Session::drain_output() {
  static std::array<char, kStreamReadSize> buffer;
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    while (io_.output[stream]) {
      const std::size_t space = room(stream);
      if (space == 0 && left_to_drain_[stream] > 0) {
        (void)loop_.set_interest(io_.output[stream].get(), 0);
        break;
      }
      const std::size_t limit = std::min({space, kStreamReadSize, left_to_drain_[stream]});
      const ssize_t count = limit == 0 ? 0 : ::read(io_.output[stream].get(), buffer.data(), limit);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        close_output(stream);
        break;
      }
      rings_[stream].append(std::span(buffer.data(), static_cast<std::size_t>(count)));
      left_to_drain_[stream] -= static_cast<std::size_t>(count);
    }
  }
  handler_.on_progress(*this);
}

void Session::close_output(std::size_t stream) {
  if (!io_.output[stream]) return;
  loop_.forget(io_.output[stream].get());
  io_.output[stream].reset();
}

void Session::detach(const Reader* reader) {
  if (readers_.erase(reader) == 0) return;
  if (ends_with_views_ && readers_.empty()) abandon();
  advanced();
}

void Session::abandon() {
  close_input();
  for (std::size_t stream = 0; stream < kStreams; ++stream) close_output(stream);
}

void Session::advanced() {
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    if (io_.output[stream] && room(stream) > 0) (void)loop_.set_interest(io_.output[stream].get(), EPOLLIN);
  }
}

void Session::drop_output() {
  for (OutputRing& ring : rings_) ring.clear();
}

// ---- Input

void Session::write_input(std::string data) {
  if (!takes_input() || data.empty()) return;
  last_input_ = data.back();
  input_size_ += data.size();
  input_.push_back(std::move(data));
  if (input_.size() == 1) write_queued();
}

void Session::write_queued() {
  while (!input_.empty()) {
    const std::string& front = input_.front();
    const ssize_t count = ::write(io_.input.get(), front.data() + input_begin_, front.size() - input_begin_);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      (void)loop_.set_interest(io_.input.get(), EPOLLOUT);
      return;
    }
    if (count < 0) {  // nobody will read it any more
      close_input();
      handler_.on_input_taken(*this);
      return;
    }
    input_begin_ += static_cast<std::size_t>(count);
    input_size_ -= static_cast<std::size_t>(count);
    if (input_begin_ == front.size()) {
      input_.pop_front();
      input_begin_ = 0;
    }
  }
  (void)loop_.set_interest(io_.input.get(), 0);
  if (input_ended_ && !io_.tty) close_input();
  handler_.on_input_taken(*this);
}

void Session::end_input() {
  if (!takes_input()) return;
  if (io_.tty) {
    // The end-of-file character ends a line; only on an empty line it means end of file.
    termios settings = {};
    const bool known = ::tcgetattr(io_.input.get(), &settings) == 0;
    const char eof = known ? static_cast<char>(settings.c_cc[VEOF]) : '\x04';
    const bool partial_line = known && (settings.c_lflag & ICANON) != 0 && last_input_ != '\n' && last_input_ != '\r';
    write_input(std::string(partial_line ? 2 : 1, eof));
    input_ended_ = true;
  } else {
    input_ended_ = true;
    if (input_.empty()) close_input();
  }
}

void Session::close_input() {
  if (io_.input) loop_.forget(io_.input.get());
  io_.input.reset();
  input_.clear();
  input_begin_ = 0;
  input_size_ = 0;
}

Result<void> Session::resize(WindowSize size) {
  if (!io_.tty) return fail(ErrorCode::kInvalidState, "session {} has no terminal", id_);
  if (!io_.output[0]) return {};  // it has just ended
  const winsize window = {size.rows, size.columns, 0, 0};
  if (::ioctl(io_.output[0].get(), TIOCSWINSZ, &window) < 0) return fail_errno("set the terminal's size");
  return {};
}

// ---- End

void Session::ended(Exit exit) {
  exit_ = exit;
  close_input();
  handler_.on_input_taken(*this);
  io_.slave.reset();
  for (UniqueFd& fd : io_.child) fd.reset();
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    if (!io_.output[stream]) continue;
    int pending = 0;
    const bool counted = !io_.tty && ::ioctl(io_.output[stream].get(), FIONREAD, &pending) == 0;
    left_to_drain_[stream] = counted ? static_cast<std::size_t>(pending) : kMaxDrain;
  }
  drain_output();
}

}  // namespace boxlite::agent

#include "shim/qmp_channel.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "shim/log.h"

namespace boxlite::shim {

QmpChannel::QmpChannel(EventLoop& loop, int fd)
    : fd_(fd),
      watch_(loop, fd),
      retry_(loop),
      client_([this](const std::string& name, const Json& data) { on_event(name, data); }) {
  wait();
}

void QmpChannel::on_event(const std::string& name, const Json& data) {
  if (name == "BLOCK_IO_ERROR" && !out_of_space_) {
    out_of_space_ = json_get_or<bool>(data, "nospace", name, false).value_or(false);
    log("{}", out_of_space_ ? "the host's disk is full: the box is paused until there is space again"
                            : "the box's disk had an I/O error");
  } else if (name == "STOP" && out_of_space_) {
    retry_.start(kRetry, [this] {
      // No space yet: the write fails again, and another STOP brings us back here.
      client_.execute("cont", Json::object(), [](const Result<Json>&) {});
      flush();
    });
  } else if (name == "RESUME" && out_of_space_) {
    retry_.start(kRetry, [this] {
      log("the host's disk has space again: the box goes on");
      out_of_space_ = false;
    });
  }
}

void QmpChannel::wait() {
  watch_.on_readable([this] { read_some(); });
}

void QmpChannel::read_some() {
  std::array<std::byte, 4096> buffer;
  const ssize_t count = ::read(fd_, buffer.data(), buffer.size());
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return wait();
  if (count <= 0) return client_.close(Error(ErrorCode::kUnavailable, "QEMU has ended"));
  if (const auto fed = client_.feed(std::span(buffer).first(static_cast<std::size_t>(count))); !fed) {
    // Not read any more: whoever speaks there is not QEMU as we know it. Its end is still enforced by the jail.
    log("{}", fed.error().message());
    return client_.close(fed.error());
  }
  flush();
  wait();
}

// A few commands of a few bytes: they fit the socket, or QEMU has stopped reading and the next step of a stop does without it.
void QmpChannel::flush() {
  const std::string output = client_.take_output();
  if (!output.empty()) (void)::send(fd_, output.data(), output.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void QmpChannel::quit() {
  client_.execute("quit", Json::object(), [](const Result<Json>& reply) {
    if (!reply) log("QMP quit: {}", reply.error().message());
  });
  flush();
}

}  // namespace boxlite::shim

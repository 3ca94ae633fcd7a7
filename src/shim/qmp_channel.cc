#include "shim/qmp_channel.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "shim/log.h"

namespace boxlite::shim {

QmpChannel::QmpChannel(EventLoop& loop, int fd, bool greeted)
    : fd_(fd),
      watch_(loop, fd),
      retry_(loop),
      client_([this](const std::string& name, const Json& data) { on_event(name, data); }) {
  if (greeted) client_.assume_greeted();
  wait();
}

void QmpChannel::on_event(const std::string& name, const Json& data) {
  if (name == "BLOCK_IO_ERROR" && !out_of_space_) {
    out_of_space_ = json_get_or<bool>(data, "nospace", name, false).value_or(false);
    if (out_of_space_) {
      log("the host's disk is full: the box is paused until there is space again");
      if (on_full_disk_) on_full_disk_();
    } else if (!std::exchange(told_io_error_, true)) {
      // The guest may try as often as it likes.
      log("the box's disk had an I/O error; more of them are not told");
    }
  } else if (name == "MIGRATION") {
    if (on_migration_) on_migration_(json_get_or<std::string>(data, "status", name, "").value_or(""));
  } else if (name == "BLOCK_JOB_COMPLETED" || name == "BLOCK_JOB_CANCELLED") {
    const std::string id = json_get_or<std::string>(data, "device", name, "").value_or("");
    if (const auto ended = on_job_end_.extract(id)) {
      const std::string error = json_get_or<std::string>(data, "error", name, "").value_or("");
      ended.mapped()(error.empty() && name == "BLOCK_JOB_COMPLETED"
                         ? Result<void>()
                         : fail(ErrorCode::kIo, "{}", error.empty() ? "it was cancelled" : error));
    }
  } else if (name == "STOP" && out_of_space_) {
    retry_.start(kRetry, [this] {
      if (held_) return;
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
  if (output.empty()) return;
  iovec text = {const_cast<char*>(output.data()), output.size()};
  msghdr message = {};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
  if (attached_) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = attached_.get();
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  if (::sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) attached_.reset();
}

void QmpChannel::execute(std::string_view command, const Json& arguments, vmm::QmpClient::OnReply on_reply, int fd) {
  if (fd >= 0) attached_.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  client_.execute(command, arguments, std::move(on_reply));
  flush();
}

void QmpChannel::on_job_end(const std::string& id, std::function<void(Result<void>)> callback) {
  if (callback) {
    on_job_end_[id] = std::move(callback);
  } else {
    on_job_end_.erase(id);
  }
}

void QmpChannel::hold(std::function<void(Result<void>)> on_held) {
  held_ = true;
  execute("stop", Json::object(), [this, on_held = std::move(on_held)](const Result<Json>& reply) {
    if (!reply) held_ = false;
    on_held(reply ? Result<void>() : std::unexpected(reply.error()));
  });
}

void QmpChannel::let_go() {
  held_ = false;
  execute("cont", Json::object(), [](const Result<Json>& reply) {
    if (!reply) log("QMP cont: {}", reply.error().message());
  });
}

void QmpChannel::quit() {
  execute("quit", Json::object(), [](const Result<Json>& reply) {
    if (!reply) log("QMP quit: {}", reply.error().message());
  });
}

}  // namespace boxlite::shim

#include "agent/volume_pipe.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/sys.h"

namespace boxlite::agent {
namespace {

constexpr std::size_t kPipeReadSize = std::size_t{32} * 1024;

}  // namespace

VolumePipe::VolumePipe(EventLoop& loop, UniqueFd socket, Handler handler)
    : loop_(loop), socket_(std::move(socket)), handler_(std::move(handler)) {}

VolumePipe::~VolumePipe() { loop_.forget(socket_.get()); }

Result<void> VolumePipe::start() {
  TRY(sys::set_nonblocking(socket_.get(), true));
  return loop_.watch(socket_.get(), EPOLLIN, [this](std::uint32_t events) { on_event(events); });
}

void VolumePipe::receive(std::span<const std::byte> data) {
  to_client_.append(reinterpret_cast<const char*>(data.data()), data.size());
  write();
}

void VolumePipe::write() {
  while (!to_client_.empty()) {
    const ssize_t count = ::send(socket_.get(), to_client_.data(), to_client_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno != EAGAIN) to_client_.clear();  // gone: the next read says so
    if (count <= 0) break;
    to_client_.erase(0, static_cast<std::size_t>(count));
    handler_.consume(static_cast<std::size_t>(count));
  }
  update();
}

void VolumePipe::update() {
  const std::uint32_t in = handler_.room() > 0 ? static_cast<std::uint32_t>(EPOLLIN) : 0U;
  const std::uint32_t out = to_client_.empty() ? 0U : static_cast<std::uint32_t>(EPOLLOUT);
  (void)loop_.set_interest(socket_.get(), in | out);
}

void VolumePipe::on_event(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) write();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  std::array<std::byte, kPipeReadSize> buffer;
  const std::size_t room = std::min(buffer.size(), handler_.room());
  if (room == 0) return update();
  const ssize_t count = ::recv(socket_.get(), buffer.data(), room, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) {
    const auto on_end = handler_.on_end;
    return on_end();
  }
  handler_.send(std::span(buffer).first(static_cast<std::size_t>(count)));
  update();
}

}  // namespace boxlite::agent

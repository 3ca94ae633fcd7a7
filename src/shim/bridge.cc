#include "shim/bridge.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace boxlite::shim {
namespace {

constexpr std::size_t kBridgeReadSize = std::size_t{32} * 1024;

bool hung_up(int socket) {
  pollfd entry = {socket, 0, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

Bridge::Bridge(EventLoop& loop, AgentLink& link, UniqueFd client, std::function<void(Bridge*)> on_closed,
               std::function<void(const proto::Call&)> on_call)
    : link_(link),
      client_(std::move(client)),
      watch_(std::in_place, loop, client_.get()),
      on_closed_(std::move(on_closed)),
      on_call_(std::move(on_call)) {
  if (on_call_) call_.emplace();
}

Result<void> Bridge::begin(std::string early) {
  TRY_ASSIGN(id_, link_.open(shared_from_this(), kSpareStreams));
  early_ = std::move(early);
  // It is read only as far as the stream may send, which may be never again: its end must not be something that is read.
  watch_->on_hangup([this, self = shared_from_this()] { client_gone(); });
  on_writable();
  return {};
}

// As much as the stream takes.
std::size_t Bridge::send(std::span<const std::byte> data) {
  const std::size_t sent = link_.send(id_, data);
  if (!call_) return sent;
  call_->feed(data.first(sent));
  proto::Call call;
  const auto whole = call_->next(call);
  if (whole && !*whole) return sent;
  call_.reset();
  if (whole) on_call_(call);
  return sent;
}

void Bridge::on_writable() {
  if (closed_ || client_done_) return;
  if (!early_.empty()) early_.erase(0, send(std::as_bytes(std::span(early_))));
  if (!early_.empty() || waiting_read_ || link_.writable(id_) == 0) return;
  waiting_read_ = true;
  watch_->on_readable([this, self = shared_from_this()] {
    waiting_read_ = false;
    read_client();
  });
}

void Bridge::read_client() {
  if (closed_ || client_done_) return;
  std::array<std::byte, kBridgeReadSize> buffer;
  const std::size_t room = std::min(buffer.size(), link_.writable(id_));
  if (room == 0) return;  // on_writable() goes on
  const ssize_t count = ::recv(client_.get(), buffer.data(), room, MSG_DONTWAIT);
  if (count > 0) {
    send(std::span(buffer).first(static_cast<std::size_t>(count)));
  } else if (count == 0) {
    return client_ended();
  } else if (errno != EAGAIN && errno != EINTR) {
    return close();
  }
  on_writable();
}

void Bridge::client_ended() {
  // Closed altogether: nobody will read what the agent still sends, and a command may be waiting to send it.
  if (hung_up(client_.get())) return close();
  client_done_ = true;
  link_.finish(id_);
  close_if_over();
}

// What it had sent is delivered as far as the stream takes it now; the rest would wait for a box that may never read.
void Bridge::client_gone() {
  if (closed_) return;
  std::array<std::byte, kBridgeReadSize> buffer;
  while (!client_done_ && link_.writable(id_) > 0) {
    const std::size_t room = std::min(buffer.size(), link_.writable(id_));
    const ssize_t count = ::recv(client_.get(), buffer.data(), room, MSG_DONTWAIT);
    if (count <= 0) break;
    send(std::span(buffer).first(static_cast<std::size_t>(count)));
  }
  close();
}

void Bridge::on_data(std::span<const std::byte> data) {
  if (closed_) return;
  to_client_.append(reinterpret_cast<const char*>(data.data()), data.size());
  write_client();
}

void Bridge::write_client() {
  if (closed_ || waiting_write_) return;
  while (!to_client_.empty()) {
    const ssize_t count = ::send(client_.get(), to_client_.data(), to_client_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      waiting_write_ = true;
      watch_->on_writable([this, self = shared_from_this()] {
        waiting_write_ = false;
        write_client();
      });
      return;
    }
    if (count < 0) return close();
    to_client_.erase(0, static_cast<std::size_t>(count));
    if (!stream_gone_) link_.consume(id_, static_cast<std::size_t>(count));
  }
  if (agent_done_) {
    ::shutdown(client_.get(), SHUT_WR);
    close_if_over();
  }
}

void Bridge::on_end() {
  agent_done_ = true;
  write_client();
}

void Bridge::on_gone() {
  // What has arrived is still delivered; the client sees the end after it.
  stream_gone_ = agent_done_ = client_done_ = true;
  write_client();
}

void Bridge::close_if_over() {
  if (agent_done_ && client_done_ && to_client_.empty()) close();
}

void Bridge::close() {
  if (std::exchange(closed_, true)) return;
  const auto self = shared_from_this();
  watch_.reset();
  client_.reset();
  if (!stream_gone_) link_.reset(id_);
  on_closed_(this);
}

}  // namespace boxlite::shim

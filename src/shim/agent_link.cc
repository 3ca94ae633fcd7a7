#include "shim/agent_link.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/sys.h"

namespace boxlite::shim {
namespace {

constexpr std::size_t kAgentReadSize = std::size_t{64} * 1024;

portal::Nonce fresh_nonce() {
  portal::Nonce nonce;
  sys::random_bytes(nonce);
  return nonce;
}

}  // namespace

AgentLink::AgentLink(EventLoop& loop, int fd)
    : loop_(loop),
      fd_(fd),
      watch_(loop, fd),
      nonce_(fresh_nonce()),
      scanner_(portal::Sender::kAgent, nonce_),
      mux_(portal::Mux::Role::kHost, {.on_data =
                                          [this](portal::StreamId id, std::span<const std::byte> data) {
                                            if (const auto to = listener(id)) to->on_data(data);
                                          },
                                      .on_end =
                                          [this](portal::StreamId id) {
                                            if (const auto to = listener(id)) to->on_end();
                                            remove_if_dead(id);
                                          },
                                      .on_reset =
                                          [this](portal::StreamId id) {
                                            const auto to = listener(id);
                                            listeners_.erase(id);
                                            if (to) to->on_gone();
                                          },
                                      .on_writable =
                                          [this](portal::StreamId id) {
                                            if (const auto to = listener(id)) to->on_writable();
                                          },
                                      .on_output = [this] { schedule_flush(); }}),
      buffer_(kAgentReadSize) {}

std::shared_ptr<StreamListener> AgentLink::listener(portal::StreamId id) const {
  const auto found = listeners_.find(id);
  return found == listeners_.end() ? nullptr : found->second;
}

void AgentLink::begin(std::function<void()> on_ready, std::function<void(const Error&)> on_broken,
                      std::function<void()> on_hangup) {
  on_ready_ = std::move(on_ready);
  on_broken_ = std::move(on_broken);
  on_hangup_ = std::move(on_hangup);
  // The pipe is empty: 40 bytes fit. Were the VM dead already, its end says so.
  (void)sys::write_all(fd_, portal::encode({.sender = portal::Sender::kHost, .nonce = nonce_}));
  wait_readable();
}

void AgentLink::wait_readable() {
  watch_.on_readable([this] { read_some(); });
}

void AgentLink::read_some() {
  const ssize_t count = ::read(fd_, buffer_.data(), buffer_.size());
  if (count > 0) {
    receive(std::span(buffer_).first(static_cast<std::size_t>(count)));
    if (!ended_) wait_readable();
    return;
  }
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return wait_readable();
  on_hangup_();  // first: whoever loses a stream by it is to know why
  end();
  if (on_drained_) std::exchange(on_drained_, nullptr)();
}

void AgentLink::receive(std::span<const std::byte> data) {
  if (!ready_) {
    const auto found = scanner_.feed(data);
    if (!found) return;
    if (found->header.version != portal::kProtocolVersion) {
      end();
      return on_broken_(
          Error(ErrorCode::kUnsupported, fmt::format("the guest agent speaks version {} of the portal, this boxlite version {}",
                                                     found->header.version, portal::kProtocolVersion)));
    }
    ready_ = true;
    data = data.subspan(found->consumed);
    on_ready_();
  }
  if (ended_) return;
  heard_ = true;
  if (const auto fed = mux_.feed(data); !fed) {
    end_broken(fed.error());
  }
}

Result<portal::StreamId> AgentLink::open(std::shared_ptr<StreamListener> listener, std::size_t spare) {
  if (!ready_ || ended_) return fail(ErrorCode::kUnavailable, "the box's agent cannot be reached");
  TRY_ASSIGN(const portal::StreamId id, mux_.open_stream(spare));
  listeners_.emplace(id, std::move(listener));
  return id;
}

void AgentLink::remove_if_dead(portal::StreamId id) {
  if (!mux_.alive(id)) listeners_.erase(id);
}

void AgentLink::finish(portal::StreamId id) {
  mux_.finish(id);
  remove_if_dead(id);
}

void AgentLink::reset(portal::StreamId id) {
  listeners_.erase(id);
  mux_.reset(id);
}

// Collects the frames of one turn of the loop into one write.
void AgentLink::schedule_flush() {
  if (flush_scheduled_ || waiting_writable_ || ended_) return;
  flush_scheduled_ = true;
  later([this] {
    flush_scheduled_ = false;
    flush();
  });
}

void AgentLink::later(std::function<void()> callback) {
  loop_.post([alive = std::weak_ptr(alive_), callback = std::move(callback)] {
    if (!alive.expired()) callback();
  });
}

void AgentLink::flush() {
  while (!ended_ && !mux_.output().empty() && allowed_ != 0U) {
    const std::size_t size = std::min(mux_.output().size(), allowed_.value_or(mux_.output().size()));
    const ssize_t count = ::write(fd_, mux_.output().data(), size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      if (errno != EAGAIN) return;  // the VM is gone: reading tells
      waiting_writable_ = true;
      watch_.on_writable([this] {
        waiting_writable_ = false;
        flush();
      });
      return;
    }
    mux_.drop_output(static_cast<std::size_t>(count));
    if (allowed_) *allowed_ -= static_cast<std::size_t>(count);
  }
}

void AgentLink::hold() { allowed_ = mux_.output().size(); }

void AgentLink::release() {
  allowed_.reset();
  flush();
}

void AgentLink::receive_now() {
  while (!ended_) {
    const ssize_t count = ::read(fd_, buffer_.data(), buffer_.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;  // nothing, or the end: the read that is always waiting tells
    receive(std::span(buffer_).first(static_cast<std::size_t>(count)));
  }
}

void AgentLink::end_broken(const Error& error) {
  on_broken_(error);
  end();
}

void AgentLink::end() {
  ended_ = true;
  for (const auto& [id, listener] : std::exchange(listeners_, {})) listener->on_gone();
}

void AgentLink::drain(std::function<void()> on_drained) {
  if (ended_) return on_drained();
  on_drained_ = std::move(on_drained);  // the read that is always waiting comes to the end-of-file
}

}  // namespace boxlite::shim

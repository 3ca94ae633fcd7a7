#include "net/nic.h"

#include "net/packet.h"
#include "net/pure_ack.h"

#include <sys/socket.h>

#include <cerrno>

namespace boxlite::net {
namespace {

constexpr int kSocketBuffer = 1024 * 1024;

}  // namespace

Nic::Nic(UniqueFd socket, const NicLimits& limits, NetCounters& counters)
    : socket_(std::move(socket)),
      counters_(counters),
      tx_(limits.tx_kbps, limits.mtu + kEthernetHeader, Clock::now()),
      rx_(limits.rx_kbps, limits.mtu + kEthernetHeader, Clock::now()),
      buffer_(65536 + kEthernetHeader) {
  (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &kSocketBuffer, sizeof kSocketBuffer);
}

void Nic::prepare(PollSet& polls) {
  const auto now = Clock::now();
  short events = 0;
  if (queued_ < kEnoughQueued) {
    if (tx_.open(now)) {
      events |= POLLIN;
    } else {
      polls.wake_at(tx_.opens_at());
    }
  }
  if (!rx_.open(now)) {
    polls.wake_at(rx_.opens_at());
  } else if (!queue_.empty()) {
    events |= POLLOUT;
  }
  poll_index_ = polls.add(socket_.get(), events);
}

std::optional<std::span<std::uint8_t>> Nic::receive() {
  if (queued_ >= kEnoughQueued || !tx_.open(Clock::now())) return std::nullopt;
  const ssize_t size = ::recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
  if (size < 0) {
    if (errno != EAGAIN && errno != EINTR) ended_ = true;
    return std::nullopt;
  }
  const auto length = static_cast<std::size_t>(size);
  tx_.take(length);
  count(counters_.tx_packets);
  count(counters_.tx_bytes, length);
  if (length > buffer_.size()) {
    count(counters_.dropped);
    return std::span<std::uint8_t>();
  }
  return std::span(buffer_).first(length);
}

Nic::Sent Nic::try_send(std::span<const std::uint8_t> frame) {
  if (!rx_.open(Clock::now())) return Sent::kLater;
  const ssize_t size = ::send(socket_.get(), frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (size < 0) {
    if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) return Sent::kLater;
    if (errno == ECONNREFUSED || errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) ended_ = true;
    count(counters_.dropped);
    return Sent::kYes;
  }
  rx_.take(frame.size());
  count(counters_.rx_packets);
  count(counters_.rx_bytes, frame.size());
  return Sent::kYes;
}

void Nic::send(std::span<const std::uint8_t> frame) {
  const auto ack = pure_ack(frame);
  const auto held = pure_ack(held_ack_);
  if (held && !(ack && ack->replaces(*held))) release_ack();
  if (ack) {
    held_ack_.assign(frame.begin(), frame.end());
  } else {
    send_now(frame);
  }
}

void Nic::release_ack() {
  if (!held_ack_.empty()) send_now(held_ack_);
  held_ack_.clear();
}

void Nic::send_now(std::span<const std::uint8_t> frame) {
  if (queue_.empty() && try_send(frame) == Sent::kYes) return;
  if (queued_ + frame.size() > kMaxQueued) {
    count(counters_.dropped);
    return;
  }
  queue_.emplace_back(frame.begin(), frame.end());
  queued_ += frame.size();
}

void Nic::flush() {
  while (!queue_.empty() && try_send(queue_.front()) == Sent::kYes) {
    queued_ -= queue_.front().size();
    queue_.pop_front();
  }
}

bool Nic::ready() { return queue_.empty() && rx_.open(Clock::now()); }

}  // namespace boxlite::net

// The box's network card: one end of a datagram socket pair, a frame a datagram. Its other end belongs to QEMU, in the hands of
// the guest.
//
// What cannot be sent at once, since QEMU is slow or the box's rx limit is used up, waits here. While anything waits, the loop
// reads no sockets of the host, so the queue grows by no more than the answers to what the guest itself sends; kMaxQueued bounds
// it all the same.
//
// libslirp acknowledges every segment, and each acknowledgement costs the guest an interrupt. One waits until the frames that
// have arrived with its segment are handled, and is replaced by a later one of its connection (pure_ack.h).
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "base/unique_fd.h"
#include "net/counters.h"
#include "net/poll_set.h"
#include "net/token_bucket.h"

namespace boxlite::net {

struct NicLimits {
  std::uint64_t tx_kbps = 0;
  std::uint64_t rx_kbps = 0;
  std::uint32_t mtu = 0;
};

class Nic {
 public:
  static constexpr std::size_t kMaxQueued = 4 * 1024 * 1024;
  /// With more than this waiting, the guest's frames are not read either: they bring answers.
  static constexpr std::size_t kEnoughQueued = 256 * 1024;

  Nic(UniqueFd socket, const NicLimits& limits, NetCounters& counters);

  void prepare(PollSet& polls);
  bool readable(const PollSet& polls) const { return (polls.revents(poll_index_) & POLLIN) != 0; }

  /// The next frame of the guest, in memory of this object that the next call overwrites; nullopt if there is none, or none may
  /// be taken.
  std::optional<std::span<std::uint8_t>> receive();

  /// Sends or queues a frame for the guest; an acknowledgement at the latest before the next frame, or by release_ack().
  void send(std::span<const std::uint8_t> frame);
  void release_ack();
  void flush();

  /// Nothing waits and the limit is not used up: sockets may be read.
  bool ready();

  /// The other end is gone.
  bool ended() const { return ended_; }

 private:
  enum class Sent { kYes, kLater };
  Sent try_send(std::span<const std::uint8_t> frame);
  void send_now(std::span<const std::uint8_t> frame);

  UniqueFd socket_;
  NetCounters& counters_;
  TokenBucket tx_;
  TokenBucket rx_;
  std::vector<std::uint8_t> buffer_;
  std::vector<std::uint8_t> held_ack_;
  std::deque<std::vector<std::uint8_t>> queue_;
  std::size_t queued_ = 0;
  int poll_index_ = -1;
  bool ended_ = false;
};

}  // namespace boxlite::net

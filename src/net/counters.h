// What went over a box's network, counted by boxlite-net in memory that the shim reads: no message, no lock.
//
// The memory is a memfd whose size is sealed, so that a boxlite-net taken over by its guest cannot make the reader fault.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::net {

/// tx: sent by the box; rx: received by it. Written by one process, read by any; each number by itself is exact.
struct NetCounters {
  std::atomic<std::uint64_t> tx_bytes;  // Ethernet frames, without preamble and checksum
  std::atomic<std::uint64_t> tx_packets;
  std::atomic<std::uint64_t> rx_bytes;
  std::atomic<std::uint64_t> rx_packets;
  std::atomic<std::uint64_t> tcp_outward;  // connections begun by the box
  std::atomic<std::uint64_t> tcp_inward;   // connections accepted on published ports
  std::atomic<std::uint64_t> udp_flows;    // in either direction
  std::atomic<std::uint64_t> denials;      // packets refused by policy
  std::atomic<std::uint64_t> dropped;      // malformed, spoofed, or beyond a queue's bound
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && sizeof(NetCounters) <= 4096);

/// Adds to a counter of which this process is the only writer.
inline void count(std::atomic<std::uint64_t>& counter, std::uint64_t more = 1) {
  counter.store(counter.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
}

/// One page of zeros, close-on-exec, its size sealed.
Result<UniqueFd> create_counters();

/// A mapping of such memory. Movable; the descriptor is not needed any more afterwards.
class CounterMap {
 public:
  enum class Access { kRead, kWrite };
  /// kInvalidArgument if the descriptor is not memory of that size, sealed.
  static Result<CounterMap> map(int fd, Access access);
  CounterMap(CounterMap&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  CounterMap& operator=(CounterMap&& other) noexcept {
    std::swap(page_, other.page_);
    return *this;
  }
  ~CounterMap();

  const NetCounters& operator*() const { return *page_; }
  const NetCounters* operator->() const { return page_; }
  /// Only of a map for writing.
  NetCounters& writable() { return *page_; }

 private:
  explicit CounterMap(NetCounters* page) : page_(page) {}
  NetCounters* page_;
};

}  // namespace boxlite::net

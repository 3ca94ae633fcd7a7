// The portal link: the virtio-serial port, the epochs on it, and the mux of the current epoch.
//
// Theory of operation.
//
//  - The port is opened once and never closed: a reopen while the host sends loses a page of data.
//  - Nothing is taken for frames before a host header has been seen; then our header with the same nonce is answered and a fresh
//    mux begins. A host header where a frame could begin starts the next epoch; inside a frame's payload it is payload, or a user
//    could pipe a file into a command whose bytes end the epoch and then are calls to the agent. So the link follows the frame
//    boundaries itself, since only there it may look.
//  - The port is watched edge-triggered. Without a host it says POLLIN | POLLHUP for ever and read() returns 0; the driver wakes
//    its waiters when a host comes, so an edge is exactly what we need and nothing spins. Hence: read until EAGAIN or 0, write
//    until EAGAIN, every time.
//  - Output leaves in flush(), which the owner calls once per turn of the loop: what one turn produced is one write.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "portal/epoch.h"
#include "portal/mux.h"

namespace boxlite::agent {

/// Finds the port by its name in /sys/class/virtio-ports and opens it; waits for it to appear.
Result<UniqueFd> open_port(const std::string& name);

class Link {
 public:
  struct Handler {
    /// The streams of the old epoch are gone; mux() is a fresh one, or null when the host has left.
    std::function<void()> on_epoch;
    portal::Mux::Handler mux;  // on_output is the link's own
  };
  Link(EventLoop& loop, UniqueFd port, Handler handler);

  Result<void> start();
  portal::Mux* mux() { return mux_.get(); }
  void flush();
  /// Nothing waits to be written.
  bool drained() const;
  /// Blocks until drained() or the deadline; for the last words before power-off.
  void drain(std::chrono::milliseconds timeout);

 private:
  // Follows the headers of the frames to know where one ends.
  class FrameTracker {
   public:
    /// How many bytes of `data` belong to frames; fewer than all when a byte that begins no frame stands where one should.
    std::size_t frames(std::span<const std::byte> data);

   private:
    std::size_t header_size_ = 0;
    std::byte header_[12] = {};
    std::size_t payload_left_ = 0;
  };

  void on_event(std::uint32_t events);
  void receive(std::span<const std::byte> data);
  void begin_epoch(const portal::EpochHeader& host);
  void end_epoch();

  EventLoop& loop_;
  UniqueFd port_;
  Handler handler_;
  std::unique_ptr<portal::Mux> mux_;
  FrameTracker tracker_;
  portal::EpochScanner scanner_;
  std::vector<std::byte> header_out_;  // our header, before anything of the mux
  std::vector<std::byte> buffer_;
};

}  // namespace boxlite::agent

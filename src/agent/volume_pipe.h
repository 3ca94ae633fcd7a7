// Bytes between the 9P client in the kernel and a stream to its server on the host, both ways, unread.
//
// The kernel's end of a socket pair is the client's transport (trans=fd); this is the other end. Flow control goes through: what
// the stream brings counts as consumed when the kernel has taken it, and the kernel is read only as far as the stream may send.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "agent/event_loop.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::agent {

class VolumePipe {
 public:
  struct Handler {
    std::function<std::size_t()> room;                     // how much the stream may send
    std::function<void(std::span<const std::byte>)> send;  // at most that
    std::function<void(std::size_t)> consume;
    std::function<void()> on_end;  // the client is gone; may destroy this
  };

  VolumePipe(EventLoop& loop, UniqueFd socket, Handler handler);
  VolumePipe(const VolumePipe&) = delete;
  VolumePipe& operator=(const VolumePipe&) = delete;
  ~VolumePipe();

  Result<void> start();
  /// From the stream.
  void receive(std::span<const std::byte> data);
  /// The stream may send again.
  void on_writable() { update(); }

 private:
  void on_event(std::uint32_t events);
  void write();
  void update();

  EventLoop& loop_;
  UniqueFd socket_;
  Handler handler_;
  std::string to_client_;
};

}  // namespace boxlite::agent

// Many streams over one byte pipe, with flow control for each: the yamux frame format
// (https://github.com/hashicorp/yamux/blob/master/spec.md), host = client (odd stream ids), agent = server (opens none).
//
// Theory of operation, states and invariants: mux.cc. In short:
//  - every stream starts with a window of kInitialWindow bytes in each direction; a sender never has more in flight;
//  - the receiver opens the window again only when the application has *consumed* the bytes (consume()), so a slow reader
//    stops only its own stream and at most kInitialWindow bytes per stream are ever buffered here;
//  - the peer is hostile: a frame that breaks a rule (window exceeded, unknown type, stream id it may not open, length too
//    large) makes feed() return an error, and the link is dead. More than kMaxStreams streams: the new one is reset.
//
// Sans-IO: bytes in by feed(), bytes out by output()/drop_output(). Callbacks come from within the calls that cause them; they
// may call anything but feed() and must not destroy the mux. Not thread safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"

namespace boxlite::portal {

using StreamId = std::uint32_t;

class Mux {
 public:
  static constexpr std::uint32_t kInitialWindow = 256 * 1024;
  static constexpr std::size_t kMaxStreams = 1024;
  /// Largest data frame we send; larger ones are accepted up to the window.
  static constexpr std::uint32_t kMaxFrame = 32 * 1024;
  /// writable() is false for every stream while this much output waits for the pipe.
  static constexpr std::size_t kMaxQueuedOutput = 256 * 1024;
  /// Room for control frames beyond that. Where it is used up, nothing more is opened, answered or announced until the pipe
  /// drains.
  static constexpr std::size_t kControlReserve = 64 * 1024;

  enum class Role { kHost, kAgent };

  struct Handler {
    /// Agent only: the host opened a stream.
    std::function<void(StreamId)> on_open = {};
    /// Bytes arrived. The handler must call consume() for them, now or later: that is what lets the peer send more.
    std::function<void(StreamId, std::span<const std::byte>)> on_data = {};
    /// The peer will send no more on this stream.
    std::function<void(StreamId)> on_end = {};
    /// The peer reset the stream: gone in both directions; the id is invalid after this call.
    std::function<void(StreamId)> on_reset = {};
    /// writable() may have grown (window opened, or half of the output drained). Who comes first takes turns.
    std::function<void(StreamId)> on_writable = {};
    /// There is new output() to write to the pipe.
    std::function<void()> on_output = {};
  };

  Mux(Role role, Handler handler);

  /// Takes bytes from the pipe. An error means the peer broke the protocol: the link is dead, end the epoch.
  Result<void> feed(std::span<const std::byte> data);

  /// Bytes to write to the pipe, oldest first; drop what has been written.
  std::span<const std::byte> output() const;
  void drop_output(std::size_t count);

  /// Host only. kResourceExhausted when `spare` more streams would not fit below kMaxStreams, or when the peer has stopped
  /// reading; kUnavailable after the peer's GoAway.
  Result<StreamId> open_stream(std::size_t spare = 0);

  /// How many bytes send() would take now.
  std::size_t writable(StreamId id) const;
  /// Queues up to writable(id) bytes and returns how many; 0 for an unknown stream.
  std::size_t send(StreamId id, std::span<const std::byte> data);
  /// No more from our side (FIN). The stream is gone when both sides have said so.
  void finish(StreamId id);
  /// Gone now, in both directions (RST). An unknown id is ignored.
  void reset(StreamId id);
  /// `count` bytes given to on_data have been dealt with.
  void consume(StreamId id, std::size_t count);

  bool alive(StreamId id) const { return streams_.contains(id); }
  std::size_t stream_count() const { return streams_.size(); }
  /// All queued output has left, and no stream is open.
  bool idle() const;

 private:
  struct Stream {
    std::uint32_t send_window = kInitialWindow;     // what we may still send
    std::uint32_t receive_window = kInitialWindow;  // what the peer may still send
    std::uint32_t consumed = 0;                     // consumed but not announced yet
    bool sent_end = false;
    bool received_end = false;
  };
  using Streams = std::map<StreamId, Stream>;

  Result<void> begin_frame();
  Result<void> begin_data(StreamId id, std::uint16_t flags, std::uint32_t length);
  Result<void> window_update(StreamId id, std::uint16_t flags, std::uint32_t delta);
  Result<void> ping(std::uint16_t flags, std::uint32_t value);
  Result<void> open_from_peer(StreamId id);
  Result<void> check_id(StreamId id) const;
  void end_from_peer(StreamId id);
  void reset_from_peer(StreamId id);
  void deliver(std::span<const std::byte> data);

  std::size_t queued() const { return output_.size() - output_begin_; }
  void queue_header(std::uint8_t type, std::uint16_t flags, StreamId id, std::uint32_t length);
  void send_control(std::uint8_t type, std::uint16_t flags, StreamId id, std::uint32_t length);
  void announce_window(StreamId id, Stream& stream);
  void tell_writable();

  Role role_;
  Handler handler_;
  Streams streams_;
  StreamId next_id_ = 1;  // host: the next to open. Agent: one more than the highest the host has opened
  bool peer_accepts_streams_ = true;
  std::optional<Error> broken_;

  std::array<std::byte, 12> header_ = {};  // an incomplete frame header
  std::size_t header_size_ = 0;
  // Data frame in progress: bytes are handed on as they come, never collected.
  StreamId data_stream_ = 0;
  std::uint32_t data_left_ = 0;
  std::uint16_t data_flags_ = 0;

  std::vector<std::byte> output_;
  std::size_t output_begin_ = 0;
  bool updates_deferred_ = false;  // a window update waits for room in the output
  bool telling_writable_ = false;
  bool tell_writable_again_ = false;
  StreamId told_first_ = 0;  // whose on_writable came first the last time
};

}  // namespace boxlite::portal

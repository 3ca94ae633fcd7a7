// Theory of operation.
//
// A frame is a 12-byte header and, for data frames, a payload. All integers are big-endian (yamux spec.md, "Framing"):
//
//   offset  size  field
//        0     1  version, 0
//        1     1  type: 0 data, 1 window update, 2 ping, 3 go away
//        2     2  flags: 1 SYN, 2 ACK, 4 FIN, 8 RST
//        4     4  stream id; 0 for ping and go away
//        8     4  data: length of the payload. Window update: bytes added to the window. Ping: any value. Go away: reason
//
// Opening. The host sends a window update with SYN and an id it has never used: odd, and higher than all before. It may send data
// at once; the agent's ACK tells it nothing that it waits for. Because ids are never used again, a frame that was under way while
// a stream was reset can be told from one for a stream that never was: the first is normal, the second a broken peer.
//
// Ending. FIN: no more from this side. A stream is forgotten when both sides have said so. RST: forgotten at once by both; what
// is still under way for it is skipped on arrival. Nothing answers a frame for a forgotten stream.
//
// Flow control. Each direction of a stream has a window of kInitialWindow bytes: a sender takes from it what it sends, a
// receiver gives back what the application has *consumed*. Were it given back on arrival, a reader that does not read would make
// this process buffer without end, or would have to stop the whole pipe and with it every other command of the box. Updates are
// sent when half of the window has been consumed: often enough that a busy sender never waits for one, seldom enough that they
// cost 12 bytes per 128 KiB.
//
// Output. One queue for all streams. send() adds to it only below kMaxQueuedOutput, so a pipe that stands still (a paused VM)
// stops the senders and does not fill memory. When half of it has drained every stream is told that it is writable, a different
// one first each time, so that no stream lives off another's silence.
//
// The peer is hostile. What it may try, and why each is bounded:
//   data beyond the window, frames longer than a window    an error: the link is dead. So an application that buffers until it
//                                                          consumes holds at most kInitialWindow bytes per stream
//   window updates that add up to more than a window       an error: it "returns" what it never got
//   frames for a stream that never was, or not its to open an error
//   SYN for an id that was used                            an error
//   data or FIN after FIN                                  an error
//   data for a forgotten stream                            skipped as it arrives; no memory, no answer
//   many streams (agent side)                              the 1025th is reset
//   floods of pings                                        an answer is dropped while kMaxQueuedOutput + kControlReserve wait
//   floods of SYN                                          an error when their answers would exceed that bound
//   data, but never reading                                window updates wait for room in the queue; then its windows are used
//   up long payloads in small portions                        handed on as they come; only a header is ever collected: 12 bytes
#include "portal/mux.h"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#include "portal/byte_order.h"

namespace boxlite::portal {
namespace {

enum Type : std::uint8_t { kData = 0, kWindowUpdate = 1, kPing = 2, kGoAway = 3 };

constexpr std::uint16_t kSyn = 1;
constexpr std::uint16_t kAck = 2;
constexpr std::uint16_t kFin = 4;
constexpr std::uint16_t kRst = 8;
constexpr std::uint16_t kAllFlags = kSyn | kAck | kFin | kRst;

constexpr std::size_t kHeaderSize = 12;

template <typename... Args>
void call(const std::function<void(Args...)>& callback, std::type_identity_t<Args>... args) {
  if (callback) callback(args...);
}

}  // namespace

Mux::Mux(Role role, Handler handler) : role_(role), handler_(std::move(handler)) {}

// ---- Input

Result<void> Mux::feed(std::span<const std::byte> data) {
  if (broken_) return std::unexpected(*broken_);
  while (!data.empty()) {
    if (data_left_ > 0) {
      const std::size_t count = std::min<std::size_t>(data_left_, data.size());
      deliver(data.first(count));
      data = data.subspan(count);
      continue;
    }
    // An epoch header must be seen before any byte of it is taken for a frame (epoch.h).
    Result<void> result;
    if (header_size_ == 0 && data.front() != std::byte{0}) {
      result = fail(ErrorCode::kCorrupt, "portal: a frame of version {}", std::to_integer<unsigned>(data.front()));
    } else {
      const std::size_t count = std::min(kHeaderSize - header_size_, data.size());
      std::copy_n(data.begin(), count, header_.begin() + static_cast<std::ptrdiff_t>(header_size_));
      header_size_ += count;
      data = data.subspan(count);
      if (header_size_ < kHeaderSize) break;
      header_size_ = 0;
      result = begin_frame();
    }
    if (!result) {
      broken_ = result.error();
      return result;
    }
  }
  return {};
}

Result<void> Mux::begin_frame() {
  const auto type = std::to_integer<std::uint8_t>(header_[1]);
  const auto flags = get_be<std::uint16_t>(&header_[2]);
  const auto id = get_be<StreamId>(&header_[4]);
  const auto length = get_be<std::uint32_t>(&header_[8]);
  if ((flags & ~kAllFlags) != 0) return fail(ErrorCode::kCorrupt, "portal: a frame with unknown flags {:#x}", flags);

  if (type == kPing || type == kGoAway) {
    if (id != 0) return fail(ErrorCode::kCorrupt, "portal: a control frame for stream {}", id);
    if (type == kPing) return ping(flags, length);
    if (flags != 0) return fail(ErrorCode::kCorrupt, "portal: a go-away frame with flags {:#x}", flags);
    if (length != 0) return fail(ErrorCode::kCorrupt, "portal: the peer gave the link up, reason {}", length);
    peer_accepts_streams_ = false;
    return {};
  }
  if (type != kData && type != kWindowUpdate) return fail(ErrorCode::kCorrupt, "portal: a frame of unknown type {}", type);

  if ((flags & kSyn) != 0) {
    if ((flags & (kAck | kRst)) != 0) return fail(ErrorCode::kCorrupt, "portal: stream {} opened with flags {:#x}", id, flags);
    TRY(open_from_peer(id));
  } else {
    TRY(check_id(id));
  }
  return type == kData ? begin_data(id, flags, length) : window_update(id, flags, length);
}

Result<void> Mux::check_id(StreamId id) const {
  if (id % 2 == 0 || id >= next_id_)
    return fail(ErrorCode::kCorrupt, "portal: a frame for stream {}, which was never opened", id);
  return {};
}

Result<void> Mux::open_from_peer(StreamId id) {
  if (role_ == Role::kHost) return fail(ErrorCode::kCorrupt, "portal: the agent opened stream {}; only the host may", id);
  if (id % 2 == 0 || id < next_id_ || id == std::numeric_limits<StreamId>::max()) {
    return fail(ErrorCode::kCorrupt, "portal: stream {} opened, which is used or not the host's", id);
  }
  if (queued() >= kMaxQueuedOutput + kControlReserve) {
    return fail(ErrorCode::kCorrupt, "portal: the peer opens streams and does not read the answers");
  }
  next_id_ = id + 1;
  if (streams_.size() >= kMaxStreams) {
    send_control(kWindowUpdate, kRst, id, 0);
    return {};
  }
  streams_.emplace(id, Stream{});
  send_control(kWindowUpdate, kAck, id, 0);
  call(handler_.on_open, id);
  return {};
}

Result<void> Mux::begin_data(StreamId id, std::uint16_t flags, std::uint32_t length) {
  // Also for forgotten streams: no honest sender ever had more than this to send.
  if (length > kInitialWindow) return fail(ErrorCode::kCorrupt, "portal: a data frame of {} bytes on stream {}", length, id);
  if ((flags & kRst) != 0) {
    reset_from_peer(id);
  } else if (const auto it = streams_.find(id); it != streams_.end()) {
    Stream& stream = it->second;
    if (stream.received_end) return fail(ErrorCode::kCorrupt, "portal: data on stream {} after its end", id);
    if (length > stream.receive_window) {
      return fail(ErrorCode::kCorrupt, "portal: {} bytes on stream {} where its window is {}", length, id, stream.receive_window);
    }
    stream.receive_window -= length;
  }
  data_stream_ = id;
  data_left_ = length;
  data_flags_ = flags;
  if (length == 0 && (flags & kFin) != 0) end_from_peer(id);
  return {};
}

void Mux::deliver(std::span<const std::byte> data) {
  data_left_ -= static_cast<std::uint32_t>(data.size());
  if (!streams_.contains(data_stream_)) return;
  call(handler_.on_data, data_stream_, data);
  if (data_left_ == 0 && (data_flags_ & kFin) != 0) end_from_peer(data_stream_);
}

Result<void> Mux::window_update(StreamId id, std::uint16_t flags, std::uint32_t delta) {
  if ((flags & kRst) != 0) {
    reset_from_peer(id);
    return {};
  }
  const auto it = streams_.find(id);
  if (it == streams_.end()) return {};
  Stream& stream = it->second;
  if (delta > kInitialWindow - stream.send_window) {
    return fail(ErrorCode::kCorrupt, "portal: {} bytes returned on stream {}, of which {} were under way", delta, id,
                kInitialWindow - stream.send_window);
  }
  stream.send_window += delta;
  if ((flags & kFin) != 0) {
    if (stream.received_end) return fail(ErrorCode::kCorrupt, "portal: stream {} ended twice", id);
    end_from_peer(id);
  }
  if (delta > 0 && alive(id)) call(handler_.on_writable, id);
  return {};
}

Result<void> Mux::ping(std::uint16_t flags, std::uint32_t value) {
  if (flags == kAck) return {};  // we send none, and an answer to nothing changes nothing
  if (flags != kSyn) return fail(ErrorCode::kCorrupt, "portal: a ping with flags {:#x}", flags);
  if (queued() < kMaxQueuedOutput + kControlReserve) send_control(kPing, kAck, 0, value);
  return {};
}

void Mux::end_from_peer(StreamId id) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  it->second.received_end = true;
  const bool over = it->second.sent_end;
  call(handler_.on_end, id);
  if (over) streams_.erase(id);
}

void Mux::reset_from_peer(StreamId id) {
  if (streams_.erase(id) > 0) call(handler_.on_reset, id);
}

// ---- Output

std::span<const std::byte> Mux::output() const { return std::span(output_).subspan(output_begin_); }

void Mux::drop_output(std::size_t count) {
  const std::size_t before = queued();
  output_begin_ += std::min(count, before);
  if (output_begin_ == output_.size()) {
    output_.clear();
    output_begin_ = 0;
  } else if (output_begin_ >= output_.size() / 2) {
    output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(output_begin_));
    output_begin_ = 0;
  }
  if (queued() < kMaxQueuedOutput && std::exchange(updates_deferred_, false)) {
    for (auto& [id, stream] : streams_) announce_window(id, stream);
    call(handler_.on_output);
  }
  constexpr std::size_t kHalf = kMaxQueuedOutput / 2;
  if (before >= kHalf && queued() < kHalf) tell_writable();
}

void Mux::tell_writable() {
  // A handler that writes to the pipe at once comes back here by drop_output().
  tell_writable_again_ = true;
  if (telling_writable_) return;
  telling_writable_ = true;
  while (std::exchange(tell_writable_again_, false)) {
    std::vector<StreamId> ids;
    ids.reserve(streams_.size());
    for (const auto& [id, stream] : streams_) ids.push_back(id);
    const auto first = std::ranges::upper_bound(ids, told_first_);
    if (first != ids.end()) std::ranges::rotate(ids, first);
    if (!ids.empty()) told_first_ = ids.front();
    for (const StreamId id : ids) {
      if (alive(id)) call(handler_.on_writable, id);
    }
  }
  telling_writable_ = false;
}

void Mux::queue_header(std::uint8_t type, std::uint16_t flags, StreamId id, std::uint32_t length) {
  std::array<std::byte, kHeaderSize> header = {};
  header[1] = std::byte{type};
  put_be(&header[2], flags);
  put_be(&header[4], id);
  put_be(&header[8], length);
  output_.insert(output_.end(), header.begin(), header.end());
}

void Mux::send_control(std::uint8_t type, std::uint16_t flags, StreamId id, std::uint32_t length) {
  queue_header(type, flags, id, length);
  call(handler_.on_output);
}

// ---- The application's side

Result<StreamId> Mux::open_stream(std::size_t spare) {
  if (role_ != Role::kHost) return fail(ErrorCode::kInternal, "portal: the agent opens no streams");
  if (broken_) return std::unexpected(*broken_);
  if (!peer_accepts_streams_) return fail(ErrorCode::kUnavailable, "portal: the agent takes no new calls");
  if (streams_.size() + spare >= kMaxStreams) {
    return fail(ErrorCode::kResourceExhausted, "{} calls to the box are under way; end some of them first", streams_.size());
  }
  if (queued() >= kMaxQueuedOutput + kControlReserve) {
    return fail(ErrorCode::kResourceExhausted, "the box does not read what it is sent");
  }
  if (next_id_ > std::numeric_limits<StreamId>::max() - 2)
    return fail(ErrorCode::kResourceExhausted, "portal: all stream ids used");
  const StreamId id = std::exchange(next_id_, next_id_ + 2);
  streams_.emplace(id, Stream{});
  send_control(kWindowUpdate, kSyn, id, 0);
  return id;
}

std::size_t Mux::writable(StreamId id) const {
  const auto it = streams_.find(id);
  if (it == streams_.end() || it->second.sent_end || queued() >= kMaxQueuedOutput) return 0;
  return std::min<std::size_t>(it->second.send_window, kMaxQueuedOutput - queued());
}

std::size_t Mux::send(StreamId id, std::span<const std::byte> data) {
  data = data.first(std::min(data.size(), writable(id)));
  if (data.empty()) return 0;
  const std::size_t total = data.size();
  streams_.at(id).send_window -= static_cast<std::uint32_t>(total);
  while (!data.empty()) {
    const auto part = data.first(std::min<std::size_t>(data.size(), kMaxFrame));
    queue_header(kData, 0, id, static_cast<std::uint32_t>(part.size()));
    output_.insert(output_.end(), part.begin(), part.end());
    data = data.subspan(part.size());
  }
  call(handler_.on_output);
  return total;
}

void Mux::finish(StreamId id) {
  const auto it = streams_.find(id);
  if (it == streams_.end() || it->second.sent_end) return;
  it->second.sent_end = true;
  if (it->second.received_end) streams_.erase(it);
  send_control(kWindowUpdate, kFin, id, 0);
}

void Mux::reset(StreamId id) {
  if (streams_.erase(id) > 0) send_control(kWindowUpdate, kRst, id, 0);
}

void Mux::consume(StreamId id, std::size_t count) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  Stream& stream = it->second;
  const std::uint32_t held = kInitialWindow - stream.receive_window - stream.consumed;
  stream.consumed += static_cast<std::uint32_t>(std::min<std::size_t>(count, held));
  if (stream.consumed < kInitialWindow / 2 || stream.received_end) return;
  if (queued() >= kMaxQueuedOutput + kControlReserve) {
    updates_deferred_ = true;
    return;
  }
  announce_window(id, stream);
  call(handler_.on_output);
}

void Mux::announce_window(StreamId id, Stream& stream) {
  if (stream.consumed < kInitialWindow / 2 || stream.received_end) return;
  stream.receive_window += stream.consumed;
  queue_header(kWindowUpdate, 0, id, std::exchange(stream.consumed, 0));
}

bool Mux::idle() const { return streams_.empty() && queued() == 0; }

}  // namespace boxlite::portal

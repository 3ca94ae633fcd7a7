// The portal as the shim sees it: one epoch with the agent, streams over it, and the bytes between mux and pipe.
//
// What comes in is the guest's, hence hostile: whatever breaks the protocol ends the link for good (on_broken), since an honest
// agent never does. Nothing here is buffered beyond the mux's own bounds.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "portal/epoch.h"
#include "portal/mux.h"
#include "shim/event_loop.h"

namespace boxlite::shim {

/// Streams that clients leave free: however many there are, the shim can thaw the box, ask how it is and end it.
inline constexpr std::size_t kSpareStreams = 16;

/// What happens on one stream. Owned by the link as long as the stream lives.
class StreamListener {
 public:
  virtual ~StreamListener() = default;
  /// consume() must follow for these bytes, now or later.
  virtual void on_data(std::span<const std::byte> data) = 0;
  /// The agent sends no more.
  virtual void on_end() = 0;
  virtual void on_writable() {}
  /// The stream is gone: reset by the agent, or the link is. The last call.
  virtual void on_gone() = 0;
};

class AgentLink {
 public:
  /// `fd`: the VM's end of the portal, non-blocking; must outlive this.
  AgentLink(EventLoop& loop, int fd);

  /// Opens the epoch. `on_ready`: the agent has answered. `on_broken`: it broke the protocol; the link is dead. End-of-file is
  /// neither: the VM's end tells about it.
  /// `on_hangup`: the other end is closed, so the VM has ended or is about to. Either of the last two is called once, and then
  /// every stream is gone.
  void begin(std::function<void()> on_ready, std::function<void(const Error&)> on_broken, std::function<void()> on_hangup);
  bool ready() const { return ready_; }

  /// Any byte from the agent, in the epoch, since the last call: a sign of life.
  bool take_sign_of_life() { return std::exchange(heard_, false); }

  /// kUnavailable before the epoch is open and after the link's end.
  Result<portal::StreamId> open(std::shared_ptr<StreamListener> listener, std::size_t spare = 0);
  std::size_t writable(portal::StreamId id) const { return mux_.writable(id); }
  std::size_t send(portal::StreamId id, std::span<const std::byte> data) { return mux_.send(id, data); }
  void consume(portal::StreamId id, std::size_t count) { mux_.consume(id, count); }
  void finish(portal::StreamId id);
  /// Ends it without on_gone(): the caller knows.
  void reset(portal::StreamId id);

  /// What has been said so far still reaches the agent; nothing that is said later, until release(). Then its end of the pipe
  /// lies between two frames.
  void hold();
  void release();
  /// Hands on what has come and lies in the pipe.
  void receive_now();

  /// Runs it in the loop's next turn, if this still exists then.
  void later(std::function<void()> callback);

  /// The VM has ended: reads what it still had sent; then every stream is gone. `on_drained` is called once that is so.
  void drain(std::function<void()> on_drained);

 private:
  void wait_readable();
  void read_some();
  void receive(std::span<const std::byte> data);
  void schedule_flush();
  void flush();
  void end_broken(const Error& error);
  void end();
  void remove_if_dead(portal::StreamId id);
  std::shared_ptr<StreamListener> listener(portal::StreamId id) const;

  EventLoop& loop_;
  int fd_;
  Watch watch_;
  portal::Nonce nonce_ = {};
  portal::EpochScanner scanner_;
  portal::Mux mux_;
  std::map<portal::StreamId, std::shared_ptr<StreamListener>> listeners_;
  std::vector<std::byte> buffer_;
  std::function<void()> on_ready_;
  std::function<void(const Error&)> on_broken_;
  std::function<void()> on_hangup_;
  std::function<void()> on_drained_;
  bool ready_ = false;
  bool ended_ = false;
  bool heard_ = false;
  std::optional<std::size_t> allowed_;  // bytes that may be sent yet; held
  bool flush_scheduled_ = false;
  bool waiting_writable_ = false;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace boxlite::shim

// One client's connection to the agent: the bytes of a stream and of a socket, both ways, unread.
//
// Flow control goes through: bytes from the agent count as consumed when the client's socket has taken them, and the client is
// read only as far as the stream may send. So at most one window (256 KiB) per connection waits here. The end of either direction
// is passed on alone (half-close); the connection is over when both have ended, or when either side is gone.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "shim/agent_link.h"

namespace boxlite::shim {

class Bridge final : public StreamListener, public std::enable_shared_from_this<Bridge> {
 public:
  /// `on_closed` is called once, when the connection is over and all that could be delivered has been.
  Bridge(EventLoop& loop, AgentLink& link, UniqueFd client, std::function<void(Bridge*)> on_closed);

  /// Opens the stream. `early` is what the client sent along with its first line.
  Result<void> begin(std::string early);
  /// Drops the connection now, undelivered bytes with it.
  void close();

  void on_data(std::span<const std::byte> data) override;
  void on_end() override;
  void on_writable() override;
  void on_gone() override;

 private:
  void read_client();
  void send_early();
  void write_client();
  void client_ended();
  void close_if_over();

  AgentLink& link_;
  UniqueFd client_;
  std::optional<Watch> watch_;  // until closed: what waits on it keeps this alive
  std::function<void(Bridge*)> on_closed_;
  portal::StreamId id_ = 0;
  std::string to_client_;
  std::string early_;
  bool waiting_read_ = false;
  bool waiting_write_ = false;
  bool client_done_ = false;  // the client sends no more
  bool agent_done_ = false;   // the agent sends no more
  bool stream_gone_ = false;
  bool closed_ = false;
};

}  // namespace boxlite::shim

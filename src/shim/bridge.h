// One client's connection to the agent: the bytes of a stream and of a socket, both ways. They are not read but for the client's
// first message, which says what it wants of the agent; what the agent says never is.
//
// Flow control goes through: bytes from the agent count as consumed when the client's socket has taken them, and the client is
// read only as far as the stream may send. So at most one window (256 KiB) per connection waits here. The end of either direction
// is passed on alone (half-close); the connection is over when both have ended, or when either side is gone.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent.pb.h"
#include "base/unique_fd.h"
#include "portal/message_codec.h"
#include "shim/agent_link.h"

namespace boxlite::shim {

class Bridge final : public StreamListener, public std::enable_shared_from_this<Bridge> {
 public:
  /// `on_closed` is called once, when the connection is over and all that could be delivered has been. `on_call` gets the
  /// client's call, once, when all of it has been passed on; a client that sends something else is the agent's to refuse. Without
  /// it nothing is read.
  Bridge(EventLoop& loop, AgentLink& link, UniqueFd client, std::function<void(Bridge*)> on_closed,
         std::function<void(const proto::Call&)> on_call = {});

  /// Opens the stream. `early` is what the client sent along with its first line.
  Result<void> begin(std::string early);
  /// Drops the connection now, undelivered bytes with it.
  void close();

  void on_data(std::span<const std::byte> data) override;
  void on_end() override;
  void on_writable() override;
  void on_gone() override;

 private:
  std::size_t send(std::span<const std::byte> data);
  void read_client();
  void write_client();
  void client_ended();
  void client_gone();
  void close_if_over();

  AgentLink& link_;
  UniqueFd client_;
  std::optional<Watch> watch_;  // until closed: what waits on it keeps this alive
  std::function<void(Bridge*)> on_closed_;
  std::function<void(const proto::Call&)> on_call_;
  std::optional<portal::MessageReader> call_;  // until it is known
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

// The agent's side of every portal stream: reads the Call, sends the Reply, and for exec and attach is the view of a session.
//
// A stream is in one of four states:
//   call      its Call is incomplete
//   waiting   the Call was handed to on_call; whoever got it answers later, through the Caller
//   view      SessionInput comes in, SessionOutput goes out
//   ending    what is queued is sent, then our end is closed
// Everything it holds is bounded: input by the stream's window (bytes are consumed when the session takes them), output by
// what the mux can take: it goes there from the ring. When the host closes or resets the stream the view is gone and
// the session goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "agent.pb.h"
#include "agent/link.h"
#include "agent/session.h"
#include "portal/message_codec.h"

namespace boxlite::agent {

class CallServer {
 public:
  struct Stream;
  /// Who asked. Expires when the stream is gone; an answer to it then goes nowhere.
  using Caller = std::weak_ptr<Stream>;

  CallServer(EventLoop& loop, UniqueFd port, std::function<void(Caller, const proto::Call&)> on_call);
  Result<void> start() { return link_.start(); }

  void reply(const Caller& caller, const Result<void>& result);
  void reply_with(const Caller& caller, const proto::Reply& reply) { answer(caller, reply, true); }
  void reply_started(const Caller& caller, const Session& session);
  /// Answers Started and makes the stream a view of the session from `position` on.
  void open_view(const Caller& caller, std::shared_ptr<Session> session, Reader position, bool no_stdin);

  /// For Session::Handler.
  void session_progressed(Session& session);
  void session_took_input(Session& session);

  void flush() { link_.flush(); }
  void drain(std::chrono::milliseconds timeout) { link_.drain(timeout); }
  bool no_streams() const { return streams_.empty(); }
  /// Every stream that has asked something has been answered to its end, and all of it has left.
  bool all_sent() const;

 private:
  using StreamPtr = std::shared_ptr<Stream>;
  StreamPtr find(portal::StreamId id) const;
  void on_data(portal::StreamId id, std::span<const std::byte> data);
  void on_end(portal::StreamId id);
  void forget(const StreamPtr& stream);
  void read_call(const StreamPtr& stream);
  void read_input(const StreamPtr& stream);
  void answer(const Caller& caller, const proto::Reply& reply, bool last);
  void pump(const StreamPtr& stream);
  bool next_output(Stream& stream);

  std::function<void(Caller, const proto::Call&)> on_call_;
  std::map<portal::StreamId, StreamPtr> streams_;
  Link link_;
};

}  // namespace boxlite::agent

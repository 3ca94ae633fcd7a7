// portal.sock: accepts connections, checks who they are from, reads what they want (runtime/control.h), and hands them on.
//
// A connection that says nothing waits in vain and holds up nobody. Bad first lines are answered with an error and closed.
// What a client asked for that has closed its connection meanwhile is not done.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>

#include "base/json.h"
#include "base/unique_fd.h"
#include "shim/event_loop.h"

namespace boxlite::shim {

using Answer = std::function<void(const Json&)>;

/// {"error":{"code":…,"message":…}}
Json error_answer(const Error& error);

class ControlServer {
 public:
  struct Handler {
    /// A control call; `answer` is to be called at most once, now or later.
    std::function<void(const Json& call, Answer answer)> on_call;
    /// A connection to the agent; `early` came along with the first line.
    std::function<void(UniqueFd client, std::string early)> on_agent;
    /// One that asks for a checkpoint (capture.h).
    std::function<void(UniqueFd client, std::string early)> on_checkpoint = {};
  };

  /// `listener`: non-blocking.
  ControlServer(EventLoop& loop, UniqueFd listener, Handler handler);
  ~ControlServer();

 private:
  class Connection;
  void accept_next();
  void accept_all();

  EventLoop& loop_;
  UniqueFd listener_;
  Watch watch_;
  Handler handler_;
  Timer pause_;
  std::list<std::shared_ptr<Connection>> connections_;
};

}  // namespace boxlite::shim

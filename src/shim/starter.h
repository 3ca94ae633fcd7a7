// The process that started this shim, seen through the socket on stdin: it sends the configuration and "go", and is told how the
// start goes. For a box that belongs to its starter, the starter's end is watched too.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "base/json.h"
#include "base/unique_fd.h"
#include "runtime/records.h"
#include "shim/event_loop.h"

namespace boxlite::shim {

/// Waits for the configuration. nullopt: the starter has ended, before it had sent all of it or right after.
Result<std::optional<ShimConfig>> read_config(int socket);

class Starter {
 public:
  Starter(EventLoop& loop, UniqueFd socket);

  /// It has ended, or closed its end.
  bool gone() const;

  /// Never waits: a starter that does not read has no right to hold the box up.
  /// With the steps that note() has noted.
  void report(ShimReport report);
  /// That the start has come to this, now.
  void note(std::string_view what);
  /// `of_template`: see ShimReport.
  void report_failure(const Error& error, bool of_template = false);

  /// Once: "go" has come, or the starter is gone; also when that was before this call.
  void on_go(std::function<void()> callback);

  /// Once: the process that started the box has ended; also when that was before this call. Told by a pidfd, so that descendants
  /// which share the socket do not matter.
  void watch_owner(std::function<void()> callback);

  /// Nothing more to say or to hear.
  void close();

 private:
  void wait();
  void read_some();
  void starter_gone();
  void owner_gone();
  void send(const Json& message);

  EventLoop& loop_;
  UniqueFd socket_;
  std::optional<Watch> watch_;
  UniqueFd owner_;
  std::optional<Watch> owner_watch_;
  std::string input_;
  std::function<void()> on_go_;
  std::function<void()> on_owner_gone_;
  bool go_ = false;
  Json steps_ = Json::array();
};

}  // namespace boxlite::shim

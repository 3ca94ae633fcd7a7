// Carries what a descriptor says (console, complaints of QEMU) into a bounded log, and remembers its end for messages.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/bounded_log.h"
#include "shim/event_loop.h"

namespace boxlite::shim {

class LogPump {
 public:
  /// `fd`: non-blocking, must outlive this. `log`: nullopt to remember only.
  LogPump(EventLoop& loop, int fd, std::optional<BoundedLog> log);

  /// Once, at end-of-file.
  void on_end(std::function<void()> callback);

  /// The last lines that are not blank, joined by " | ", in printable characters: what wrote them may be hostile.
  std::string last_lines(std::size_t count) const;

 private:
  void wait();
  void read_some();

  int fd_;
  Watch watch_;
  std::optional<BoundedLog> log_;
  std::string tail_;
  std::function<void()> on_end_;
  bool ended_ = false;
};

}  // namespace boxlite::shim

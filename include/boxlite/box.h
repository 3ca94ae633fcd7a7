// One box: a machine of its own with a root disk and a main command. A Box is a name for it, not its owner: it may be removed by
// another process at any time, and every call then returns kNotFound. Thread safe.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "boxlite/box_info.h"
#include "boxlite/error.h"
#include "boxlite/execution.h"

namespace boxlite {

struct StartOptions {
  Ownership ownership = Ownership::kDetached;
  /// The main command waits until this call has attached to it, so that none of its output is missed.
  bool attach = false;
  unsigned rows = 0;  // of the terminal, when the box has one
  unsigned columns = 0;
};

struct ExecOptions {
  std::vector<std::string> command;
  std::vector<std::string> env;  // added to the box's
  std::string working_dir;       // "": the box's
  std::string user;              // "": the box's
  bool tty = false;
  bool open_stdin = false;
  unsigned rows = 0;
  unsigned columns = 0;
};

struct LogRecord {
  std::string time;  // RFC 3339, UTC
  OutputStream stream = OutputStream::kStdout;
  std::string data;  // one line with its newline, or a part of one without
};

class Box {
 public:
  class Impl;
  explicit Box(std::shared_ptr<Impl> impl);

  const std::string& id() const;
  const std::string& name() const;

  Result<BoxInfo> info() const;

  /// Boots the box and runs its main command; returns when that runs. A box that runs already is left alone.
  /// The Execution is there exactly when options.attach is set and this call did the start.
  Result<std::optional<Execution>> start(const StartOptions& options);

  /// Stop signal, `grace`, SIGKILL, clean power-off with synced disks. Returns when it is over. A box that does not run is no
  /// error.
  Result<void> stop(std::chrono::seconds grace);

  /// Sends a signal to the main command. kInvalidState when the box does not run.
  Result<void> kill(int signal);

  /// Waits until the box does not run, without polling; its exit code (0 for a box that never ran).
  Result<int> wait();

  /// Removes the box and everything it uses. A running box is refused unless `force`, which kills it.
  Result<void> remove(bool force);

  Result<Execution> exec(const ExecOptions& options);

  /// A view of the main command from its oldest kept output on.
  Result<Execution> attach();

  /// Calls `sink` with each kept record of the main command's output; with `follow` goes on until the box ends. `sink` returns
  /// false to end early. Works on stopped boxes.
  Result<void> logs(bool follow, const std::function<bool(const LogRecord&)>& sink) const;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace boxlite

// A view of one session in a box: a command started by Box::exec(), or the main command seen by Box::attach().
//
// Output arrives by next(); input leaves by write_stdin(). Neither blocks the other: a caller that does both polls poll_fd(),
// or gives next() a short timeout. Reading slowly stops only this command. Dropping the object leaves the command running.
// One thread at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "boxlite/error.h"

namespace boxlite {

enum class OutputStream { kStdout, kStderr };

struct OutputChunk {
  OutputStream stream = OutputStream::kStdout;
  std::string data;          // any bytes
  std::uint64_t offset = 0;  // of data's first byte in its stream, from the command's start
};

struct ExitInfo {
  int code = 0;    // exit code; 128 + signal when a signal ended it
  int signal = 0;  // 0: it exited by itself
  bool oom_killed = false;
  bool timed_out = false;  // ended because its time was up; the code is 124, as timeout(1)'s
};

using SessionEvent = std::variant<OutputChunk, ExitInfo>;

class Execution {
 public:
  class Impl;
  explicit Execution(std::unique_ptr<Impl> impl);
  Execution(Execution&&) noexcept;
  Execution& operator=(Execution&&) noexcept;
  ~Execution();

  /// For Box::attach(), now or later, from any process.
  const std::string& session_id() const;
  /// The command has a terminal: all its output is on stdout.
  bool tty() const;
  /// write_stdin() is possible.
  bool takes_stdin() const;

  /// The offset in stdout where what had been written before this view began ends, and what is new begins.
  std::uint64_t replay_end() const;

  /// The next piece of output, or the exit, which is last. nullopt: the timeout passed. No timeout: waits.
  /// kUnavailable when the box ended or its shim went away before the exit was seen.
  Result<std::optional<SessionEvent>> next(std::optional<std::chrono::milliseconds> timeout);

  /// Queues input and returns how many bytes were taken; 0 when the command does not read fast enough (poll for POLLOUT).
  Result<std::size_t> write_stdin(std::span<const std::byte> data);
  /// End of input, after what was written. A terminal gets its end-of-file character.
  Result<void> close_stdin();

  /// Sends a signal to the command's process. A separate call to the box: not held up by queued input.
  Result<void> signal(int number);
  Result<void> resize(unsigned rows, unsigned columns);

  /// To poll: POLLIN when next() may have something, POLLOUT (only while wants_write()) when queued input may be sent.
  int poll_fd() const;
  /// Sends what it can of the queued input; true when some is left. next() and write_stdin() send, too.
  bool wants_write() const;
  /// next() has an event already, whatever poll says.
  bool has_event() const;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace boxlite

// Lines over a socket or pipe to one of our own child programs: reports of a shim, events of an image job.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace boxlite {

/// Writes `line` and a newline to a socket; no SIGPIPE when the other side is gone (kUnavailable then).
Result<void> send_line(int socket, std::string_view line);

class LineReader {
 public:
  static constexpr std::size_t kMaxLine = 4 * 1024 * 1024;

  explicit LineReader(int fd) : fd_(fd) {}

  /// The next line without its newline; nullopt at end-of-file. kUnavailable when the deadline passes, kCorrupt for an endless
  /// line.
  Result<std::optional<std::string>> next(std::optional<std::chrono::steady_clock::time_point> deadline);

 private:
  int fd_;
  std::string buffer_;
};

}  // namespace boxlite

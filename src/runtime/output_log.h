// The main command's output on disk: `output.log` of the box's directory, in the format of the Kubernetes container runtime
// interface (CRI), one record a line:
//
//   2026-01-02T03:04:05.123456789Z stdout F text of a whole line
//   2026-01-02T03:04:05.123456789Z stderr P text of a part of a line
//
// Time (RFC 3339, UTC), stream, tag, text, separated by one space each. The text is any bytes but newline: nothing is escaped, a
// newline in the output is what ends an F record. A line whose newline has not come yet is written at once as P; the line is the
// texts of all P records of that stream up to and including the next F.
//
// The file is a BoundedLog: at `limit` bytes it becomes `output.log.1` and a new one is begun, so the oldest output is lost and
// at most 2 × limit are kept. A record is never split over the two. A record cut short (the machine or the disk stopped in the
// middle) is ended by the next writer; a reader skips lines that are no records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/bounded_log.h"
#include "base/result.h"
#include "boxlite/box.h"
#include "boxlite/execution.h"

namespace boxlite {

/// Longer pieces of a line are written as several P records. A reader takes no longer ones.
inline constexpr std::size_t kMaxLogText = 64U << 10U;

/// One writer per file. Not thread safe.
class OutputLogWriter {
 public:
  /// `limit` must be well above the longest record (kMaxLogText).
  static Result<OutputLogWriter> open(const std::string& path, std::uint64_t limit);

  /// Whole lines as F records, what is left as P. After an error (disk full) the output of this call is lost in part; the next
  /// call may succeed.
  Result<void> append(OutputStream stream, std::string_view data);

 private:
  OutputLogWriter(BoundedLog log, bool torn) : log_(std::move(log)), torn_(torn) {}
  Result<void> write(std::string_view records);

  BoundedLog log_;
  bool torn_;  // the file may end in the middle of a record
};

/// Gives the kept records to `sink`, oldest first, until it returns false. A log that does not exist is empty.
/// With `follow`, a pidfd of the writing process, goes on as records are added, over any number of rotations, and returns when
/// that process has ended and all it wrote has been given. Waits by inotify, never polls.
/// `options.tail` counts lines of both streams, of what is there at the beginning; `options.follow` is not looked at.
Result<void> read_log(const std::string& path, std::optional<int> follow, const LogOptions& options,
                      const std::function<bool(const LogRecord&)>& sink);

}  // namespace boxlite

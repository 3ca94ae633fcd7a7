// boxlite logs: the kept output of the main command, running or not.
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/sys.h"
#include "cli/flag_set.h"
#include "cli/format.h"
#include "cli/output.h"
#include "cli/values.h"

namespace boxlite::cli {
namespace {

/// Writes records to the stream they came from, with a time before each line when that is wanted.
class LogPrinter {
 public:
  explicit LogPrinter(bool timestamps) : timestamps_(timestamps) {}

  Result<void> print_record(const LogRecord& record) {
    const bool is_stdout = record.stream == OutputStream::kStdout;
    bool& in_line = in_line_[is_stdout ? 0 : 1];
    const std::string text = timestamps_ && !in_line ? record.time + " " + record.data : record.data;
    in_line = !record.data.ends_with('\n');
    return is_stdout ? print(text) : sys::write_all(STDERR_FILENO, text);
  }

 private:
  bool timestamps_;
  std::array<bool, 2> in_line_ = {};
};

}  // namespace

Result<int> verb_logs(Invocation& invocation) {
  FlagSet flags(invocation, "logs", "[OPTIONS] BOX", "Print the output of a box's main command");
  LogOptions options;
  bool timestamps = false;
  std::optional<std::string> tail, since, until;
  flags.flag("-f,--follow", options.follow, "Go on until the box ends");
  flags.value("-n,--tail", "LINES", tail, "Only so many last lines, or all (default)");
  flags.value("--since", "TIME", since, "From a time on: RFC 3339, seconds since 1970, or before now, like 10m");
  flags.value("--until", "TIME", until, "Up to a time");
  flags.flag("-t,--timestamps", timestamps, "Print the time of each line before it");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() != 1 || operands->front().empty()) return flags.usage_error("logs takes one BOX");
  const Time now = std::chrono::system_clock::now();
  if (tail && *tail != "all") {
    TRY_ASSIGN(options.tail, parse_count("--tail", *tail, "a whole number of lines, or all"));
  }
  if (since) {
    TRY_ASSIGN(const Time time, parse_moment("--since", *since, now));
    options.since = rfc3339(time);
  }
  if (until) {
    if (options.follow) return flags.usage_error("--until does not go with --follow");
    TRY_ASSIGN(const Time time, parse_moment("--until", *until, now));
    options.until = rfc3339(time);
  }

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(const Box box, runtime.get(operands->front()));
  LogPrinter printer(timestamps);
  Result<void> written;
  TRY(box.logs(options, [&](const LogRecord& record) {
    written = printer.print_record(record);
    return written.has_value();
  }));
  TRY(written);
  return 0;
}

}  // namespace boxlite::cli

// boxlite logs: the kept output of the main command, running or not.
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/sys.h"
#include "cli/flag_set.h"
#include "cli/output.h"

namespace boxlite::cli {

Result<int> verb_logs(Invocation& invocation) {
  FlagSet flags(invocation, "logs", "[OPTIONS] BOX", "Print the output of a box's main command");
  bool follow = false;
  flags.flag("-f,--follow", follow, "Go on until the box ends");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() != 1 || operands->front().empty()) return flags.usage_error("logs takes one BOX");

  TRY_ASSIGN(const Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(const Box box, runtime.get(operands->front()));
  Result<void> written;
  TRY(box.logs(follow, [&written](const LogRecord& record) {
    written = record.stream == OutputStream::kStdout ? print(record.data) : sys::write_all(STDERR_FILENO, record.data);
    return written.has_value();
  }));
  TRY(written);
  return 0;
}

}  // namespace boxlite::cli

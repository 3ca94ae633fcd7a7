// boxlite cp: files into or out of a running box.
#include <unistd.h>

#include <csignal>

#include "cli/flag_set.h"
#include "cli/signal_watch.h"
#include "cli/terminal.h"

namespace boxlite::cli {
namespace {

// BOX:PATH, or a path here. What begins with "/" or "." is a path here, so that one with a colon can be named.
struct Place {
  std::string box;  // "": here
  std::string path;
};

Place parse_place(const std::string& text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0 || text.starts_with('/') || text.starts_with('.')) return {"", text};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

Result<void> check_places(const FlagSet& flags, const Place& source, const Place& destination) {
  if (source.path.empty() || destination.path.empty()) return flags.usage_error("a path is empty");
  if (!source.box.empty() && !destination.box.empty()) {
    return flags.usage_error("it cannot copy from box to box; use boxlite cp A:PATH - | boxlite cp - B:PATH");
  }
  if (source.box.empty() && destination.box.empty()) return flags.usage_error("neither path is BOX:PATH");
  if (destination.path == "-" && is_terminal(STDOUT_FILENO)) {
    return fail(ErrorCode::kInvalidArgument,
                "cp to - writes a tar archive, which a terminal cannot show; redirect standard output");
  }
  if (source.path == "-" && is_terminal(STDIN_FILENO)) {
    return fail(ErrorCode::kInvalidArgument,
                "cp from - reads a tar archive, which does not come from a terminal; redirect standard input");
  }
  return {};
}

Result<void> copy(Box& box, const Place& source, const Place& destination, const CopyOptions& options) {
  if (!source.box.empty()) {
    return destination.path == "-" ? box.copy_out_tar(source.path, STDOUT_FILENO, options.follow_link)
                                   : box.copy_out(source.path, destination.path, options);
  }
  return source.path == "-" ? box.copy_in_tar(STDIN_FILENO, destination.path, options.archive)
                            : box.copy_in(source.path, destination.path, options);
}

}  // namespace

Result<int> verb_cp(Invocation& invocation) {
  FlagSet flags(invocation, "cp", "[OPTIONS] BOX:SOURCE DESTINATION|-  or  SOURCE|- BOX:DESTINATION",
                "Copy files into or out of a running box");
  CopyOptions options;
  flags.flag("-a,--archive", options.archive, "Keep owners, set-uid bits and extended attributes");
  flags.flag("-L,--follow-link", options.follow_link, "If SOURCE is a symbolic link, copy what it leads to");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() != 2) return flags.usage_error("a source and a destination are needed");
  const Place source = parse_place(operands->front());
  const Place destination = parse_place(operands->back());
  TRY(check_places(flags, source, destination));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(Box box, runtime.get(source.box.empty() ? destination.box : source.box));
  const bool stream = source.path == "-" || destination.path == "-";
  std::optional<SignalWatch> signals;
  if (!stream) {  // a stream leaves no file behind, and may wait for its other end: there a signal has its usual effect
    TRY_ASSIGN(SignalWatch watch, SignalWatch::create({SIGINT, SIGTERM, SIGHUP, SIGQUIT}));
    signals.emplace(std::move(watch));
    options.interrupt_fd = signals->poll_fd();
  }
  const Result<void> done = copy(box, source, destination, options);
  if (signals) {
    if (const auto signal = signals->next()) return 128 + *signal;
  }
  if (done) return 0;
  if (done.error().error_number() == EPIPE && destination.path == "-") return 128 + SIGPIPE;
  return std::unexpected(done.error().context(fmt::format("copy {} to {}", operands->front(), operands->back())));
}

}  // namespace boxlite::cli

// For tests: a shim without a VM. It speaks the start protocol (records.h) and does what the main command of its box says:
//
//   die-before-lease       ends when it has read its configuration
//   die-after-lease        is killed after it has reported the lease
//   fail                   reports a failure, with an exit record
//   gate FIFO then NEXT    waits until somebody opens FIFO for writing before it takes the lease, then does NEXT
//   run                    runs until it is stopped: exit code 7
//   mute                   runs, listens, and never answers
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/file.h"
#include "base/sys.h"
#include "base/unix_socket.h"
#include "runtime/control.h"
#include "runtime/exit_record.h"
#include "runtime/lease.h"
#include "runtime/line_channel.h"
#include "runtime/removal.h"

namespace boxlite {
namespace {

// A starter that is gone has nobody to be told: the box starts all the same.
void report(const Json& json) { (void)send_line(STDIN_FILENO, dump_json(json)); }

Result<void> write_state(const HomePaths& paths, const ShimConfig& config, Phase phase) {
  const StateRecord state{
      .generation = config.generation, .phase = phase, .started_at = sys::utc_now(), .accelerator = "tcg", .ports = {}};
  return write_file_volatile(paths.state(config.box_id), dump_json(to_json(state)), 0600);
}

Result<void> write_exit(const HomePaths& paths, const ShimConfig& config, bool failed, const std::string& reason) {
  ExitRecord record;
  record.generation = config.generation;
  record.failed = failed;
  record.code = failed ? 0 : 7;
  record.reason = reason;
  record.finished_at = sys::utc_now();
  return write_exit_record(paths, config.box_id, record);
}

// Answers control calls until a stop.
Result<void> serve(int listener) {
  for (;;) {
    TRY(sys::poll_one(listener, POLLIN, std::nullopt));
    const UniqueFd client(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) continue;
    LineReader lines(client.get());
    TRY(lines.next(std::nullopt));
    TRY_ASSIGN(const std::optional<std::string> call, lines.next(std::nullopt));
    (void)send_line(client.get(), "{\"ok\":true}");
    if (call && call->find("\"stop\"") != std::string::npos) return {};
  }
}

Result<void> run_box(const HomePaths& paths, Database& database, const ShimConfig& config, const std::string& what) {
  TRY_ASSIGN(Lease lease, Lease::take(paths, database, config.box_id, config.generation, std::chrono::seconds(60)));
  report({{"report", "lease"}});
  if (what == "die-after-lease") ::raise(SIGKILL);
  if (what == "fail") {
    TRY(write_exit(paths, config, true, "the VM did not like it"));
    report({{"report", "failed"}, {"code", "unsupported"}, {"message", "the VM did not like it"}});
    return {};
  }
  TRY_ASSIGN(const UniqueFd listener, listen_unix(paths.box(config.box_id), kPortalSocket));
  TRY(write_state(paths, config, Phase::kRunning));
  report({{"report", "running"}});
  if (what == "mute") {
    for (;;) ::pause();
  }
  TRY(serve(listener.get()));
  TRY(write_exit(paths, config, false, ""));
  TRY(lease.leave(*read_exit_record(paths.exit_record(config.box_id))));
  if (!config.box.options.auto_remove) return {};
  TRY(remove_own_box(paths, database, config.box_id));
  return {};
}

Result<void> run() {
  LineReader lines(STDIN_FILENO);
  TRY_ASSIGN(const std::optional<std::string> line, lines.next(std::nullopt));
  if (!line) return fail(ErrorCode::kInvalidState, "no configuration came");
  TRY_ASSIGN(const Json json, parse_json(*line, "configuration"));
  TRY_ASSIGN(const ShimConfig config, shim_config_from_json(json));
  const HomePaths paths(config.home);
  std::string what = config.box.args.at(0);
  if (what == "die-before-lease") return fail(ErrorCode::kInternal, "last words of the fake shim");
  if (what == "gate") {
    TRY_ASSIGN(const UniqueFd gate, sys::open(config.box.args.at(1), O_RDONLY));
    what = config.box.args.at(3);
  }
  TRY_ASSIGN(Database database, Database::open(paths.database()));
  return run_box(paths, database, config, what);
}

}  // namespace
}  // namespace boxlite

int main() {
  if (::fork() != 0) ::_exit(0);
  ::setsid();
  if (auto done = boxlite::run(); !done) {
    std::fprintf(stderr, "%s\n", done.error().message().c_str());
    return 1;
  }
  return 0;
}

#include "shim/remover.h"

#include <sys/prctl.h>
#include <unistd.h>

#include "base/sys.h"
#include "runtime/database.h"
#include "runtime/line_channel.h"
#include "runtime/programs.h"
#include "runtime/removal.h"

namespace boxlite::shim {
namespace {

constexpr const char* kOrder = "remove";

// The shim's own, which its starter has chosen.
std::vector<std::string> own_environment() {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  return environment;
}

}  // namespace

Result<Remover> Remover::start(const HomePaths& paths, const std::string& box_id) {
  TRY_ASSIGN(const std::string program, find_own_program("boxlite-shim"));
  TRY_ASSIGN(sys::SocketPair pair, sys::socket_pair());
  // The shim has one thread, and starts it directly: it dies with the shim (decisions/002 has why bubblewrap is another matter).
  auto process = ChildProcess::spawn({.program = program,
                                      .argv = {"boxlite-shim", box_id, kRemoverRole},
                                      .environment = own_environment(),
                                      .stdin_fd = pair.b.get(),
                                      .stdout_fd = STDERR_FILENO,
                                      .stderr_fd = STDERR_FILENO,
                                      .die_with_parent = true});
  if (!process) return std::unexpected(process.error().context("start what removes the box at its end"));
  // Now, so that a shim in the hands of its guest cannot name another.
  TRY(send_line(pair.a.get(), paths.home()));
  return Remover(std::move(pair.a), std::move(*process));
}

Result<void> Remover::remove() {
  TRY(send_line(order_.get(), kOrder));
  TRY_ASSIGN(const ExitStatus status, process_.wait());
  if (status.code != 0)
    return fail(ErrorCode::kInternal, "the box is not removed: what removes it ended with status {}", status.code);
  return {};
}

Result<void> run_remover(const std::string& box_id) {
  if (::prctl(PR_SET_NAME, "boxlite-remover") < 0) return fail_errno("PR_SET_NAME");
  LineReader reader(STDIN_FILENO);
  TRY_ASSIGN(const std::optional<std::string> home, reader.next(std::nullopt));
  if (!home) return {};
  TRY_ASSIGN(const std::optional<std::string> order, reader.next(std::nullopt));
  if (order != kOrder) return {};
  const HomePaths paths(*home);
  TRY_ASSIGN(Database database, Database::open(paths.database()));
  return remove_own_box(paths, database, box_id);
}

}  // namespace boxlite::shim

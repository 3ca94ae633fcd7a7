// boxlite-shim <box-id>: the process of one running box. Started by libboxlite, with its configuration on stdin
// (runtime/records.h). As `boxlite-shim <box-id> remover` it is another process, of that shim (remover.h).
#include <fcntl.h>
#include <unistd.h>

#include <exception>
#include <string_view>

#include "base/failpoint.h"
#include "runtime/paths.h"
#include "shim/detach.h"
#include "shim/log.h"
#include "shim/remover.h"
#include "shim/shim.h"

namespace boxlite::shim {
namespace {

Result<void> run(const std::string& id) {
  TRY(detach());
  // Away from number 0, which must stay taken, or the next file opened would be "stdin" to whatever is started from here.
  UniqueFd starter(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  if (!starter) return fail_errno("stdin");
  UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null || ::dup2(null.get(), STDIN_FILENO) < 0) return fail_errno("/dev/null");
  null.reset();

  TRY_ASSIGN(std::optional<ShimConfig> config, read_config(starter.get()));
  if (!config) return {};
  if (config->box_id != id)
    return fail(ErrorCode::kInvalidArgument, "configured for box {}, started for box {}", config->box_id, id);
  TRY(log_to(HomePaths(config->home).shim_log(id)));
  FAILPOINT("shim.configured");
  return Shim(std::move(*config), std::move(starter)).run();
}

}  // namespace
}  // namespace boxlite::shim

int main(int argc, char** argv) {
  using namespace boxlite;
  const bool remover = argc == 3 && std::string_view(argv[2]) == shim::kRemoverRole;
  if ((argc != 2 && !remover) || !is_box_id(argv[1])) {
    shim::log_line("usage: boxlite-shim BOX-ID, with the configuration on stdin; it is started by boxlite, not by hand");
    return 2;
  }
  // The event loop's library throws where the kernel refuses an epoll or a timer; that is the only exception that can reach this.
  try {
    if (const auto result = remover ? shim::run_remover(argv[1]) : shim::run(argv[1]); !result) {
      shim::log("{}", result.error().message());
      return 1;
    }
  } catch (const std::exception& error) {
    shim::log("{}", error.what());
    return 1;
  }
  return 0;
}

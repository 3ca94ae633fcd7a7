#include "base/failpoint.h"

#ifdef BOXLITE_WITH_FAILPOINTS

#include <signal.h>
#include <unistd.h>

#include <cstdlib>

namespace boxlite {

Result<void> reach_failpoint(std::string_view name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): read only, and nobody calls setenv
  const char* variable = std::getenv("BOXLITE_FAILPOINTS");
  if (variable == nullptr) return {};
  std::string_view rest = variable;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(';'), rest.size());
    const std::string_view entry = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::size_t equals = entry.find('=');
    if (equals == std::string_view::npos || entry.substr(0, equals) != name) continue;
    const std::string_view action = entry.substr(equals + 1);
    if (action == "kill9") ::kill(::getpid(), SIGKILL);
    if (action == "stop") ::kill(::getpid(), SIGSTOP);
    if (action == "error") return fail(ErrorCode::kInternal, "failpoint {} was reached", name);
  }
  return {};
}

}  // namespace boxlite

#endif

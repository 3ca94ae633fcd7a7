// boxlite-net <box-id>: the network of one box (docs/formats/network.md; decisions/011). Started by the box's shim, which owns
// it.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <vector>

#include "net/control.h"
#include "net/counters.h"
#include "net/network.h"
#include "net/sandbox.h"

namespace boxlite::net {
namespace {

/// Closes what the shim has not named: a descriptor in here is the guest's as soon as a hole in the parsers is.
Result<void> close_others(const NetConfig& config) {
  std::vector<int> keep = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, config.nic, config.launcher, config.counters};
  if (config.lock >= 0) keep.push_back(config.lock);
  for (const NetListener& listener : config.listeners) keep.push_back(listener.fd);
  std::ranges::sort(keep);
  for (std::size_t i = 0; i < keep.size(); ++i) {
    const auto first = static_cast<unsigned>(keep[i] + 1);
    const auto last = i + 1 < keep.size() ? static_cast<unsigned>(keep[i + 1] - 1) : ~0U;
    if (first <= last && keep[i] != (i + 1 < keep.size() ? keep[i + 1] : -1) && ::syscall(SYS_close_range, first, last, 0) < 0)
      return fail_errno("close_range");
  }
  return {};
}

Result<void> run(Control& control) {
  TRY_ASSIGN(const NetConfig config, control.read_config());
  TRY(close_others(config));
  TRY_ASSIGN(CounterMap counters, CounterMap::map(config.counters, CounterMap::Access::kWrite));
  ::close(config.counters);
  TRY_ASSIGN(const auto network, Network::create(config, control, counters.writable()));
  TRY(enter_sandbox(config.uid));
  control.say_ready();
  network->run();
  return {};
}

}  // namespace
}  // namespace boxlite::net

int main() {
  std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): cannot fail
  boxlite::net::Control control(STDIN_FILENO);
  if (const auto done = boxlite::net::run(control); !done) {
    control.say_error(done.error());
    return 1;
  }
  return 0;
}

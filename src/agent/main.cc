// boxlite-agent: PID 1 of the guest. Boots it, then serves the host through the portal until the box ends.
#include <sys/signalfd.h>

#include <csignal>
#include <exception>
#include <string_view>

#include "agent/agent.h"
#include "agent/boot.h"
#include "agent/link.h"
#include "agent/rehearsal.h"

namespace boxlite::agent {
namespace {

Result<UniqueFd> child_signals() {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  if (::sigprocmask(SIG_BLOCK, &children, nullptr) < 0) return fail_errno("sigprocmask");
  UniqueFd fd(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail_errno("signalfd");
  return fd;
}

Result<void> run() {
  TRY(boot());
  TRY_ASSIGN(UniqueFd signals, child_signals());
  TRY_ASSIGN(const std::unique_ptr<EventLoop> loop, EventLoop::create());
  TRY_ASSIGN(UniqueFd port, open_port("boxlite.portal"));
  Agent agent(*loop, std::move(port), std::move(signals));
  return agent.run();
}

}  // namespace
}  // namespace boxlite::agent

int main(int argc, char** argv) {
  using namespace boxlite;
  if (argc == 2 && std::string_view(argv[1]) == agent::kRehearsalArgument) return 0;
  // A PID 1 that ends panics the kernel: whatever happens, say it in one line and end the VM in order.
  try {
    if (const Result<void> result = agent::run(); !result) agent::say(result.error().message());
  } catch (const std::exception& error) {
    agent::say(error.what());
  }
  agent::power_off();
}

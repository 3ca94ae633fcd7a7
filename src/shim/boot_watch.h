// Tells a guest that hangs from a host that is busy.
//
// There is no fixed time in which a guest must boot: a busy host may need ten times longer. But a guest that hangs under TCG
// burns CPU. So what is limited is the VM's own CPU time since the last sign of life. (A VM that dies is noticed by its pidfd, at
// once.)
#pragma once

#include <cstdint>
#include <functional>

#include "shim/agent_link.h"
#include "shim/event_loop.h"
#include "vmm/vm.h"

namespace boxlite::shim {

class BootWatch {
 public:
  static constexpr std::uint64_t kLimitMs = 30'000;

  BootWatch(EventLoop& loop, const vmm::Vm& vm, AgentLink& link, std::function<void()> on_hang);

 private:
  void look();

  const vmm::Vm& vm_;
  AgentLink& link_;
  std::function<void()> on_hang_;
  Timer timer_;
  std::uint64_t cpu_at_sign_ms_ = 0;
};

}  // namespace boxlite::shim

// What PID 1 of the initramfs does first: its own root, the kernel's file systems, the loopback interface, the root cgroup.
#pragma once

#include <string_view>

#include "base/result.h"

namespace boxlite::agent {

/// Must be called once, before anything else. The working directory and root are the agent's tmpfs afterwards.
Result<void> boot();

/// One line on the guest's console.
void say(std::string_view text);

/// Ends the VM. Never returns.
[[noreturn]] void power_off();

inline constexpr const char* kRootMount = "/container";  // where the root disk is mounted
inline constexpr const char* kScratch = "/run";          // an empty directory to mount on

}  // namespace boxlite::agent

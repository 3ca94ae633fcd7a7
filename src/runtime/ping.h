// Asks many shims at once whether they answer ({"call":"ping"}, control.h), with one deadline for all of them.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "boxlite/box_info.h"

namespace boxlite {

enum class PingResult {
  kAnswered,
  kSilent,   // connected, or the queue of connections is full, and no answer came, nor is the shim at work (or for too long)
  kRefused,  // nobody listens: the shim has just ended, or it does not listen yet
};

struct PingAnswer {
  PingResult result = PingResult::kSilent;
  std::string paused;  // why the VM is paused; "" when it is not
  bool paused_by_user = false;
  std::optional<NetworkUsage> network_usage;
};

/// Nothing here blocks but one poll(): neither a stopped shim nor a full queue holds up the others. It also ends when
/// `interrupt_fd`
/// (-1: none) becomes readable.
std::vector<PingAnswer> ping_shims(const std::vector<std::string>& box_directories,
                                   std::chrono::steady_clock::time_point deadline, int interrupt_fd = -1);

}  // namespace boxlite

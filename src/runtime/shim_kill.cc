#include "runtime/shim_kill.h"

#include <signal.h>

#include <chrono>

#include "base/ofd_lock.h"
#include "base/process.h"
#include "runtime/lease.h"

namespace boxlite {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);

}  // namespace

Result<void> wait_vm_gone(const HomePaths& paths, const std::string& id) {
  TRY_ASSIGN(const bool alive, OfdLock::held(paths.vm_lock(id)));
  if (!alive) return {};
  auto lock = OfdLock::acquire(paths.vm_lock(id), kPatience);
  if (lock) return {};
  if (lock.error().code() != ErrorCode::kUnavailable) return std::unexpected(lock.error());
  return fail(ErrorCode::kUnavailable,
              "processes of the VM of box {} are still ending after {} s (waiting for a disk?); they have been killed, so try again later",
              id, kPatience.count());
}

Result<void> kill_shim(const HomePaths& paths, const std::string& id) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    TRY_ASSIGN(const std::optional<UniqueFd> shim, open_lease_holder(paths, id));
    if (!shim) break;
    TRY(signal_process(shim->get(), SIGKILL));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    TRY_ASSIGN(const bool ended, wait_process_end(shim->get(), std::max(left, std::chrono::milliseconds(0))));
    if (!ended) {
      return fail(ErrorCode::kUnavailable, "the shim of box {} was killed and is still ending after {} s (waiting for a disk?); try again later",
                  id, kPatience.count());
    }
  }
  return wait_vm_gone(paths, id);
}

}  // namespace boxlite

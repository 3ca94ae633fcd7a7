#include "runtime/shim_kill.h"

#include <signal.h>

#include <charconv>
#include <chrono>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/ofd_lock.h"
#include "base/process.h"
#include "runtime/lease.h"
#include "runtime/lock_holders.h"

namespace boxlite {
namespace {

constexpr auto kKillPatience = std::chrono::seconds(10);
constexpr auto kOwnEndPatience = std::chrono::seconds(3);

// The number in "Pid:\t123" of a pidfd's fdinfo; nullopt once the process is gone.
std::optional<pid_t> pid_of(int pidfd) {
  const auto text = read_file(fmt::format("/proc/self/fdinfo/{}", pidfd), 4096);
  if (!text) return std::nullopt;
  constexpr std::string_view key = "Pid:\t";
  const std::size_t at = text->find(key);
  if (at == std::string::npos) return std::nullopt;
  pid_t pid = -1;
  std::from_chars(text->data() + at + key.size(), text->data() + text->size(), pid);
  return pid > 0 ? std::optional(pid) : std::nullopt;
}

// The shim's children, which is bubblewrap: it ends by itself once the VM has ended, holds no lock of it, and must not be seen
// after a kill any more. Opened while their parent is alive and checked to be its children, so a pid used again is not waited
// for.
std::vector<UniqueFd> children_of_shim(int shim) {
  std::vector<UniqueFd> children;
  const std::optional<pid_t> pid = pid_of(shim);
  if (!pid) return children;
  const std::string path = fmt::format("/proc/{0}/task/{0}/children", *pid);
  const auto before = read_file(path, 4096);
  if (!before) return children;
  std::istringstream numbers(*before);
  for (pid_t child = 0; numbers >> child;) {
    const auto started = process_start_time(child);
    if (!started) continue;
    if (auto opened = open_process(child, *started)) children.push_back(std::move(*opened));
  }
  // The same list again: none of them has ended in between, so each descriptor is what the list named.
  const auto after = read_file(path, 4096);
  if (!after || *after != *before) children.clear();
  return children;
}

}  // namespace

Result<void> wait_vm_gone(const HomePaths& paths, const std::string& id) {
  const std::string path = paths.vm_lock(id);
  TRY_ASSIGN(const bool alive, OfdLock::held(path));
  if (!alive) return {};
  auto lock = OfdLock::acquire(path, kOwnEndPatience);
  if (!lock && lock.error().code() == ErrorCode::kUnavailable) {
    // They end by themselves when their shim has, unless they have been stopped (SIGSTOP) or hang.
    TRY_ASSIGN(const std::vector<UniqueFd> holders, lock_holders(path));
    for (const UniqueFd& holder : holders) TRY(signal_process(holder.get(), SIGKILL));
    lock = OfdLock::acquire(path, kKillPatience);
  }
  if (lock) return {};
  if (lock.error().code() != ErrorCode::kUnavailable) return std::unexpected(lock.error());
  return fail(ErrorCode::kUnavailable,
              "processes of the VM of box {} are still ending after {} s (waiting for a disk?); they have been killed, so try "
              "again later",
              id, (kOwnEndPatience + kKillPatience).count());
}

Result<void> kill_shim(const HomePaths& paths, const std::string& id) {
  const auto deadline = std::chrono::steady_clock::now() + kKillPatience;
  std::vector<UniqueFd> children;
  for (;;) {
    TRY_ASSIGN(const std::optional<UniqueFd> shim, open_lease_holder(paths, id));
    if (!shim) break;
    for (UniqueFd& child : children_of_shim(shim->get())) children.push_back(std::move(child));
    TRY(signal_process(shim->get(), SIGKILL));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    TRY_ASSIGN(const bool ended, wait_process_end(shim->get(), std::max(left, std::chrono::milliseconds(0))));
    if (!ended) {
      return fail(ErrorCode::kUnavailable,
                  "the shim of box {} was killed and is still ending after {} s (waiting for a disk?); try again later", id,
                  kKillPatience.count());
    }
  }
  TRY(wait_vm_gone(paths, id));
  for (const UniqueFd& child : children) {
    TRY_ASSIGN(const bool ended, wait_process_end(child.get(), kOwnEndPatience));
    if (ended) continue;
    TRY(signal_process(child.get(), SIGKILL));  // stopped; nothing is below it any more
    TRY(wait_process_end(child.get(), kKillPatience));
  }
  return {};
}

}  // namespace boxlite

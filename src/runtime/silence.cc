#include "runtime/silence.h"

#include <poll.h>

#include <chrono>

#include "base/process.h"
#include "base/sys.h"
#include "runtime/box_error.h"
#include "runtime/lease.h"
#include "runtime/ping.h"
#include "runtime/process_tree.h"

namespace boxlite {
namespace {

constexpr auto kShimPatience = std::chrono::seconds(10);

std::unexpected<Error> silent(const BoxRow& row) {
  return fail(ErrorCode::kUnavailable, "box {} does not answer: its shim is alive and silent; end it: boxlite rm -f {}", row.name,
              row.name);
}

}  // namespace

Result<void> refuse_stopped(const Context& context, const BoxRow& row) {
  TRY_ASSIGN(const LeaseState lease, probe_lease(context.paths, row.id));
  if (!lease.held || !lease.record) return {};
  TRY_ASSIGN(const std::string boot, boot_id());
  TRY_ASSIGN(const std::uint64_t own_namespace, pid_namespace());
  if (lease.record->boot_id != boot || lease.record->pid_namespace != own_namespace) return {};
  if (is_stopped(lease.record->pid)) return silent(row);
  const auto qemu = find_stopped(process_tree(lease.record->pid), "qemu");
  if (!qemu) return {};
  return fail(
      ErrorCode::kUnavailable,
      "box {} does not answer: its QEMU (pid {}) has been stopped; let it go on (kill -CONT {}), or end it: boxlite rm -f {}",
      row.name, *qemu, *qemu, row.name);
}

Result<void> refuse_silent(const Context& context, const BoxRow& row, int interrupt_fd) {
  TRY(refuse_stopped(context, row));
  const auto deadline = std::chrono::steady_clock::now() + kShimPatience;
  const PingAnswer answer = ping_shims({context.paths.box(row.id)}, deadline, interrupt_fd).front();
  if (answer.result == PingResult::kAnswered && answer.paused_by_user) return std::unexpected(paused_error(row.name));
  if (answer.result != PingResult::kSilent) return {};
  pollfd interrupt = {interrupt_fd, POLLIN, 0};
  if (::poll(&interrupt, 1, 0) > 0) return fail(ErrorCode::kUnavailable, "interrupted");
  return silent(row);
}

}  // namespace boxlite

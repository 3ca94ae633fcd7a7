// What the agent tells about a running box. All of it is the guest's word: bounded, and made printable.
#include <algorithm>

#include "runtime/printable.h"
#include "runtime/session_client.h"

namespace boxlite {
namespace {

constexpr std::size_t kMaxCommand = 4096;
constexpr std::size_t kMaxUserName = 64;
constexpr std::chrono::milliseconds kUsageTimeout = std::chrono::seconds(2);

std::chrono::nanoseconds nanoseconds(std::uint64_t count) {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(std::min<std::uint64_t>(count, INT64_MAX)));
}

}  // namespace

Result<std::vector<BoxProcess>> list_processes(const std::string& box_directory) {
  proto::Call call;
  call.mutable_list_processes();
  TRY_ASSIGN(const proto::Reply reply, agent_call(box_directory, call));
  if (!reply.has_processes()) return fail(ErrorCode::kCorrupt, "the agent replied without processes");
  std::vector<BoxProcess> result;
  for (const proto::ProcessInfo& info : reply.processes().processes()) {
    result.push_back({.user = printable(info.user(), kMaxUserName),
                      .pid = info.pid(),
                      .parent = info.parent(),
                      .started = std::chrono::sys_time<std::chrono::nanoseconds>(nanoseconds(info.started_ns())),
                      .terminal = printable(info.terminal(), kMaxUserName),
                      .cpu_time = nanoseconds(info.cpu_ns()),
                      .command = printable(info.command(), kMaxCommand)});
  }
  return result;
}

Result<BoxUsage> guest_usage(const std::string& box_directory) {
  proto::Call call;
  call.mutable_get_usage();
  TRY_ASSIGN(const proto::Reply reply, agent_call(box_directory, call, kUsageTimeout));
  if (!reply.has_usage()) return fail(ErrorCode::kCorrupt, "the agent replied without numbers");
  const proto::Usage& told = reply.usage();
  BoxUsage usage;
  usage.guest_time_ns = told.time_ns();
  usage.cpu_ns = told.cpu_ns();
  usage.memory_bytes = told.memory_bytes();
  usage.memory_limit_bytes = told.memory_limit_bytes();
  usage.processes = told.processes();
  usage.block_read_bytes = told.block_read_bytes();
  usage.block_write_bytes = told.block_write_bytes();
  return usage;
}

}  // namespace boxlite

#include "agent/copy.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/result.h"
#include "base/sys.h"
#include "files/pack.h"
#include "files/unpack.h"

namespace boxlite::agent {
namespace {

constexpr int kPipeBytes = 512 * 1024;

Result<void> check(const CopyJob& job) {
  if (job.path.empty()) return fail(ErrorCode::kInvalidArgument, "no path was given");
  if (job.path.find('\0') != std::string::npos || job.root.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument, "a path with a NUL byte");
  }
  return {};
}

Result<void> copy_out(const CopyJob& job) {
  // Fewer turns between this process and the one that reads; where it is refused, the usual size does.
  (void)::fcntl(STDOUT_FILENO, F_SETPIPE_SZ, kPipeBytes);
  return files::pack(job.path, {.follow_link = job.follow_link, .sink_fd = STDOUT_FILENO},
                     [](std::span<const std::byte> data) { return sys::write_all(STDOUT_FILENO, data); });
}

Result<void> copy_in(const CopyJob& job) {
  (void)::fcntl(STDIN_FILENO, F_SETPIPE_SZ, kPipeBytes);
  files::TarReader reader([](std::span<std::byte> buffer) { return sys::read(STDIN_FILENO, buffer); }, STDIN_FILENO);
  const files::UnpackOptions options = {.archive = job.archive, .devices = true};
  return job.root.empty() ? files::unpack_into(reader, job.path, options) : files::unpack_to(reader, job.path, job.root, options);
}

}  // namespace

CopyJob copy_job(const proto::CopyOut& call) { return {.path = call.path(), .follow_link = call.follow_link()}; }

CopyJob copy_job(const proto::CopyIn& call) {
  return {.in = true, .path = call.path(), .root = call.root(), .archive = call.archive()};
}

int run_copy_job(const CopyJob& job) {
  Result<void> done = check(job);
  if (done) done = job.in ? copy_in(job) : copy_out(job);
  if (done) return 0;
  (void)sys::write_all(STDERR_FILENO, fmt::format("{}\n{}", name(done.error().code()), done.error().message()));
  return 1;
}

}  // namespace boxlite::agent

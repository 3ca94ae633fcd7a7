#include "agent/freezer.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <utility>

#include "agent/boot.h"
#include "agent/cgroup.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

// A process in an uninterruptible call comes to rest when that ends.
constexpr std::chrono::milliseconds kPatience{20'000};

Result<UniqueFd> open_root() { return sys::open(kRootMount, O_RDONLY | O_DIRECTORY); }

}  // namespace

Result<void> Freezer::freeze_processes(bool write_out, std::function<void(Result<void>)> on_frozen) {
  if (processes_) return fail(ErrorCode::kInvalidState, "the box's processes are frozen already");
  TRY_ASSIGN(events_, open_container_events());
  TRY(freeze_container(true));
  processes_ = true;
  write_out_ = write_out;
  on_frozen_ = std::move(on_frozen);
  deadline_ = loop_.after(kPatience, [this] {
    finish(fail(ErrorCode::kUnavailable, "a process of the box does not come to rest"));
    (void)thaw();
  });
  TRY(loop_.watch(events_.get(), EPOLLPRI, [this](std::uint32_t) { look(); }));
  return {};
}

void Freezer::look() {
  if (!container_is_frozen(events_.get())) return;
  if (!container_is_populated(events_.get())) {  // an empty one counts as frozen
    finish(fail(ErrorCode::kInvalidState, "nothing runs in the box any more"));
    (void)thaw();
    return;
  }
  const auto root = write_out_ ? open_root() : Result<UniqueFd>(UniqueFd());
  if (!root) return finish(std::unexpected(root.error()));
  if (*root && ::syncfs(root->get()) < 0) return finish(fail_errno("write the root file system out"));
  finish({});
}

void Freezer::finish(Result<void> result) {
  stop_waiting();
  if (const auto callback = std::exchange(on_frozen_, nullptr)) callback(std::move(result));
}

void Freezer::stop_waiting() {
  if (events_) loop_.forget(events_.get());
  events_.reset();
  if (deadline_) loop_.cancel(*std::exchange(deadline_, std::nullopt));
}

Result<void> Freezer::freeze_file_system() {
  TRY_ASSIGN(const UniqueFd root, open_root());
  if (::ioctl(root.get(), FIFREEZE, 0) < 0) return fail_errno("freeze the root file system");
  file_system_ = true;
  return {};
}

Result<void> Freezer::thaw() {
  if (std::exchange(processes_, false)) {
    finish(fail(ErrorCode::kUnavailable, "the box was to go on before it had come to rest"));
    TRY(freeze_container(false));
  }
  if (!file_system_) return {};
  TRY_ASSIGN(const UniqueFd root, open_root());
  if (::ioctl(root.get(), FITHAW, 0) < 0) return fail_errno("thaw the root file system");
  file_system_ = false;
  return {};
}

}  // namespace boxlite::agent

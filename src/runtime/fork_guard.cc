#include "runtime/fork_guard.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

namespace boxlite {
namespace {

// Never destroyed: descriptors may be unregistered by destructors that run after this file's.
struct Registry {
  std::mutex mutex;
  std::vector<int> descriptors;
};

Registry& registry() {
  static Registry* const instance = new Registry;
  return *instance;
}

// The registry's mutex is held across the fork, so that the child finds the list whole. In the child only async-signal-safe
// calls.
void before_fork() { registry().mutex.lock(); }
void in_parent() { registry().mutex.unlock(); }
void in_child() {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : registry().descriptors) {
    if (null >= 0) {
      ::dup3(null, fd, O_CLOEXEC);
    } else {
      ::close(fd);
    }
  }
  if (null >= 0) ::close(null);
  registry().descriptors.clear();
  registry().mutex.unlock();
}

}  // namespace

void guard_from_fork(int fd) {
  static const int installed = ::pthread_atfork(before_fork, in_parent, in_child);
  (void)installed;
  const std::lock_guard lock(registry().mutex);
  registry().descriptors.push_back(fd);
}

void unguard_from_fork(int fd) {
  const std::lock_guard lock(registry().mutex);
  auto& descriptors = registry().descriptors;
  const auto it = std::ranges::find(descriptors, fd);
  if (it != descriptors.end()) descriptors.erase(it);
}

ForkGuard& ForkGuard::operator=(ForkGuard&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) unguard_from_fork(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

}  // namespace boxlite

// What a program that links libboxlite and calls fork() without exec must not carry into the child.
//
// An OFD lock belongs to the open file description, which the child shares: a lock of the parent would stay held as long as the
// child lives, and unlocking in the child would unlock the parent. The same for SQLite's files and for the sockets that tie a box
// to its owner. So every such descriptor is registered here, and a pthread_atfork handler points it at /dev/null in the child.
// Pointed elsewhere rather than closed: the number stays taken, so a destructor that runs in the child cannot close a file that
// the child has opened since. ChildProcess::spawn does not come here (it clones without the handlers and closes everything before
// exec).
#pragma once

#include <sys/types.h>

namespace boxlite {

void guard_from_fork(int fd);
/// To be called before the descriptor is closed.
void unguard_from_fork(int fd);

/// Registers a descriptor as long as this object lives. Movable.
class ForkGuard {
 public:
  ForkGuard() = default;
  explicit ForkGuard(int fd) : fd_(fd) { guard_from_fork(fd); }
  ForkGuard(ForkGuard&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  ForkGuard& operator=(ForkGuard&& other) noexcept;
  ~ForkGuard() {
    if (fd_ >= 0) unguard_from_fork(fd_);
  }

 private:
  int fd_ = -1;
};

}  // namespace boxlite

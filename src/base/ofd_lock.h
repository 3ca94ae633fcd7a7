// Locks that the kernel holds for a process and drops with it: open file description locks (fcntl(2), F_OFD_SETLK).
//
// Why these and not flock or POSIX locks: F_OFD_GETLK asks who holds a lock without taking it (flock cannot), and closing
// another descriptor of the same file does not drop them (POSIX locks do). They belong to the open file description, so a
// forked child shares them: nothing that holds one may fork without exec, and descriptors are close-on-exec unless the lock
// is meant to be inherited (the VM's, see hand_over()).
//
// Not safe for use of one object from several threads.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite {

class OfdLock {
 public:
  enum class Mode { kExclusive, kShared };

  /// Creates the file (0600) if need be and takes the exclusive lock. nullopt: somebody else holds it.
  static Result<std::optional<OfdLock>> try_acquire(const std::string& path);

  /// Creates the file if need be and waits for the lock. kUnavailable when the deadline passes.
  static Result<OfdLock> acquire(const std::string& path, std::chrono::milliseconds timeout, Mode mode = Mode::kExclusive);

  /// The same through a descriptor that is open for reading and writing. A process that inherited it has the lock as well.
  static Result<OfdLock> acquire(UniqueFd fd, std::chrono::milliseconds timeout, Mode mode);

  /// For a descriptor through which the lock was taken already, by a process that inherited it.
  static OfdLock adopt(UniqueFd fd) { return OfdLock(std::move(fd)); }

  /// Is it held by anybody? Takes nothing and disturbs nobody. A file that does not exist is not held.
  static Result<bool> held(const std::string& path);

  OfdLock(OfdLock&&) = default;
  OfdLock& operator=(OfdLock&& other) noexcept;
  ~OfdLock() { release(); }

  /// Gives the lock up at once, even if a forked child still shares the description.
  void release();

  /// Closes our descriptor without unlocking: the lock now lasts as long as a child that inherited it.
  void hand_over() { fd_.reset(); }

  /// The locked descriptor: for reading and writing the file's contents, or for a child to inherit.
  int fd() const { return fd_.get(); }

  /// False when the file was unlinked after it was opened: what it guarded is gone, and others may lock a new file.
  bool still_linked() const;

 private:
  explicit OfdLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace boxlite

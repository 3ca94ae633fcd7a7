// Alive ⇔ the lease is held: the one way in which any command learns whether a box's shim lives. Theory: lease.cc.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/ofd_lock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/database.h"
#include "runtime/fork_guard.h"
#include "runtime/paths.h"
#include "runtime/records.h"

namespace boxlite {

/// The shim's hold on its box. Released by the end of the process, or by release().
class Lease {
 public:
  /// Takes the lease for start number `generation` and writes this process into it; waits for the one before to let go, at most
  /// `timeout`. Call it after the last fork: the record names the calling process.
  /// kInvalidState: a later start has taken over; kNotFound: the box is gone; kUnavailable: still held. The shim exits on any of
  /// them.
  static Result<Lease> take(const HomePaths& paths, const Database& database, const std::string& id, std::uint64_t generation,
                            std::chrono::milliseconds timeout);

  /// Adds the exit record of this start to the lease record: of a box that is removed it is what a waiter, who has the file open,
  /// can still read when all else is gone.
  Result<void> leave(const ExitRecord& exit);

  void release() { lock_.release(); }

 private:
  explicit Lease(OfdLock lock) : lock_(std::move(lock)) {}
  OfdLock lock_;
};

struct LeaseState {
  bool held = false;
  /// Who holds it or held it last; nullopt when nobody ever wrote, or (for microseconds) the writer is not done.
  std::optional<LeaseRecord> record;
};
/// Takes nothing, waits for nothing.
Result<LeaseState> probe_lease(const HomePaths& paths, std::string_view id);

/// A pidfd of the process that holds the lease, verified by boot id, PID namespace and start time while the lease is held.
/// nullopt: the lease is free. kUnsupported: the holder is in another PID namespace.
Result<std::optional<UniqueFd>> open_lease_holder(const HomePaths& paths, std::string_view id);

/// The operation lock: held while a command changes a box's state, never while it waits for the box to do something.
class OpLock {
 public:
  struct Locked;
  /// Takes it and makes sure that the box still has a row, which is returned. kNotFound: the box was removed meanwhile.
  static Result<Locked> acquire(const HomePaths& paths, const Database& database, const std::string& id,
                                std::chrono::milliseconds timeout = std::chrono::seconds(30));
  /// Whether or not the box has a row (yet, or any more). nullopt: another command works on it.
  static Result<std::optional<OpLock>> try_acquire(const HomePaths& paths, const std::string& id);

  /// Takes the lease too, for a command (removal, writing the record of a dead shim): nothing is written into it, and it is given
  /// up with the operation lock. false: a shim holds it.
  Result<bool> take_lease();

  /// Removes the box's lock files, this one last. Everything else of the box is gone.
  Result<void> unlink_lock_files();

  void release();

 private:
  OpLock(OfdLock lock, const HomePaths& paths, std::string id);
  // The guards after the locks, so that they go first: after the close a number may be another file's.
  OfdLock lock_;
  std::optional<OfdLock> lease_;
  ForkGuard guard_;
  ForkGuard lease_guard_;
  HomePaths paths_;
  std::string id_;
};
struct OpLock::Locked {
  OpLock lock;
  BoxRow row;
};

}  // namespace boxlite

// Takes a checkpoint of a running box: the side of the command that asks for it. Theory of operation: capture.cc.
#pragma once

#include <optional>
#include <string>

#include "base/ofd_lock.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/checkpoint.h"
#include "runtime/context.h"
#include "runtime/fork_guard.h"
#include "runtime/line_channel.h"

namespace boxlite {

class Capture {
 public:
  struct Wish {
    bool memory = false;
    bool disk = false;
    bool write_out = false;  // with memory: the disk alone shall be worth something too
  };

  /// Returns when the box stands still and its memory is copied; without memory, when the whole is done. kInvalidState: it does
  /// not run, or another checkpoint of it is being taken; kUnsupported: of such a box none can be taken.
  static Result<Capture> take(const Context& context, const BoxRow& row, Wish wish);

  Capture(Capture&& other) noexcept;
  Capture& operator=(Capture&&) = delete;
  /// The box goes on, if it was left standing. The files that nobody has taken are removed.
  ~Capture();

  const CheckpointRecord& record() const { return record_; }

  /// The box goes on. Returns when its disk is copied.
  Result<void> go_on();

  /// The checkpoint becomes the box's, durably, and the box ends: its next start goes on from it. Returns when that is sure.
  Result<void> end();

  /// Puts what was captured into an empty directory: the files that checkpoint.h lists, but the record. Those of the disk are
  /// links to the box's frozen ones and what was captured on top of them.
  Result<void> move_into(const std::string& directory);

 private:
  Capture(OfdLock lock, std::string directory, std::string name, Wish wish);
  Result<void> named(Result<void> done) const;
  Result<void> sync_and_end();
  Result<void> move_files(const std::string& directory);
  Result<void> prepare(const BoxRow& row, const HomePaths& paths);
  Result<void> ask(const Context& context, const BoxRow& row);
  Result<Json> answer(std::optional<std::chrono::seconds> patience);
  Result<void> check_run() const;
  std::uint64_t disk_room(const HomePaths& paths, const BoxRow& row) const;
  Result<std::uint64_t> memory_room() const;
  Result<void> describe_vm(const Context& context, const BoxRow& row);
  Result<void> copy_memory(const std::string& address);
  std::string file(std::string_view name) const;

  OfdLock lock_;
  std::string directory_;  // of the box
  std::string name_;       // the same
  Wish wish_;
  bool flat_ = false;  // the copy of the disk has all of it
  std::uint64_t disk_room_ = 0;
  ForkGuard lock_guard_;
  UniqueFd below_;  // what the VM's memory lies on, or none
  UniqueFd memory_;
  UniqueFd socket_;
  ForkGuard socket_guard_;
  std::optional<LineReader> lines_;
  pid_t qemu_ = 0;
  CheckpointRecord record_;
};

/// What commands that were killed have left of checkpoints that were being taken or removed. With the lock of below, or the box's
/// operation lock while it does not run.
std::vector<std::string> capture_leftovers(const std::string& box_directory);
Result<void> remove_capture_leftovers(const std::string& box_directory);

/// kResourceExhausted: so much and some spare is not free where the box is.
Result<void> require_checkpoint_room(const std::string& box_directory, std::uint64_t bytes);

/// Held while somebody works on a box's checkpoints; nullopt: somebody does.
Result<std::optional<OfdLock>> try_lock_checkpoints(const std::string& box_directory);
bool checkpoints_are_locked(const std::string& box_directory);

}  // namespace boxlite

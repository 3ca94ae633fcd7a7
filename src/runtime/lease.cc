// Theory of operation.
//
// Every box has one shim while it runs, and the shim holds an exclusive OFD lock on locks/<id>.lease from its first act to its
// last breath. The kernel drops the lock with the process, however that ends, so no command ever has to decide from a pid, a
// command line or a row whether a box lives: it asks for the lock with F_OFD_GETLK, which takes nothing and disturbs nobody.
//
// Invariants, and what breaks without them:
//  - The lock files are outside the box's directory. A removal renames the directory; a lock inside would move away from under
//    those who ask for it by path.
//  - Nothing that holds a lease forks without exec: the description would be shared, and the lock outlive its holder. (The VM
//    lock is the one that is meant to be inherited.)
//  - The file's contents say who took the lease last: pid, start time, boot id, PID namespace, generation. They are a hint for
//    signalling and for the words of a message, never for liveness: they may be of an earlier holder for the microseconds between
//    lock and write, and stay behind when the holder dies. A signal goes to a pidfd that was opened first and compared with the
//    record after, while the lease was still held: a pid that is another process by now is never signalled. When the record is
//    lost (somebody emptied the file) the shim is found as the process that listens at its socket.
//  - The generation is a fencing token. A starter increments it in the row, in the same transaction as the start intent. A shim
//    that gets the lease re-reads the row, and ends if the row has moved on: a starter may have been killed after the
//    configuration was sent, its shim been slow, and another start been made since.
//  - Only a shim writes a record. A command that takes the lease to clean up after a dead shim leaves the record as it is.
//  - Lock files are unlinked only by a removal, under all three locks, the operation lock's last. Whoever gets a lock then looks
//    whether the file is still linked: if not, what it got guards nothing, and the row decides whether to try again or to give
//    up. Whoever made a lock file anew for a box that has no row unlinks it again.
#include "runtime/lease.h"

#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/unix_socket.h"
#include "runtime/control.h"
#include "runtime/exit_record.h"

namespace boxlite {
namespace {

constexpr std::size_t kMaxLeaseRecord = 8192;  // the longest reason of an exit is 2000 bytes, and up to 6000 as JSON
constexpr auto kRecordPatience = std::chrono::milliseconds(200);  // a record that is not there by then is lost

Result<void> write_record(const OfdLock& lock, const Json& record) {
  const std::string text = dump_json(record) + "\n";
  // In this order: the block that it has is not given back, which on a full disk somebody else would take. A reader between the
  // two calls sees JSON and a tail, which he does not take.
  if (::pwrite(lock.fd(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) return fail_errno("write the lease");
  if (::ftruncate(lock.fd(), static_cast<off_t>(text.size())) < 0) return fail_errno("truncate the lease");
  return {};
}

Result<LeaseRecord> own_record(std::uint64_t generation) {
  LeaseRecord record;
  record.pid = ::getpid();
  record.generation = generation;
  TRY_ASSIGN(record.start_time, process_start_time(record.pid));
  TRY_ASSIGN(record.boot_id, boot_id());
  TRY_ASSIGN(record.pid_namespace, pid_namespace());
  return record;
}

std::optional<LeaseRecord> read_record(const std::string& path) {
  const auto text = read_file(path, kMaxLeaseRecord);
  if (!text || text->empty()) return std::nullopt;
  const auto json = parse_json(*text, path);
  if (!json) return std::nullopt;
  auto record = lease_record_from_json(*json);
  if (!record) return std::nullopt;
  return std::move(*record);
}

// For a lease whose record is lost: the process that listens at the box's socket, which is the shim. nullopt: nobody listens.
// The pid is the same before and after its pidfd is opened, with the listener alive both times: so it was no other process
// between.
Result<std::optional<UniqueFd>> open_listener(const HomePaths& paths, std::string_view id) {
  const auto before = connect_unix(paths.box(id), kPortalSocket);
  if (!before) return std::nullopt;
  TRY_ASSIGN(const PeerCredentials shim, peer_credentials(before->get()));
  const auto start_time = process_start_time(shim.pid);  // fails for pid 0, which is one of another PID namespace
  if (!start_time) return std::nullopt;
  auto pidfd = open_process(shim.pid, *start_time);
  if (!pidfd) return std::nullopt;
  const auto after = connect_unix(paths.box(id), kPortalSocket);
  if (!after) return std::nullopt;
  TRY_ASSIGN(const PeerCredentials still, peer_credentials(after->get()));
  if (still.pid != shim.pid) return std::nullopt;
  return std::move(*pidfd);
}

}  // namespace

Result<Lease> Lease::take(const HomePaths& paths, const Database& database, const std::string& id, std::uint64_t generation,
                          std::chrono::milliseconds timeout) {
  const std::string path = paths.lease(id);
  TRY_ASSIGN(OfdLock lock, OfdLock::acquire(path, timeout));
  TRY_ASSIGN(const std::optional<BoxRow> row, database.box(id));
  if (!row) {
    if (lock.still_linked()) TRY(sys::unlink(path));  // made anew by the acquire above
    return fail(ErrorCode::kNotFound, "box {} was removed while it was being started", id);
  }
  if (row->generation != generation || row->remove_intent || !lock.still_linked()) {
    return fail(ErrorCode::kInvalidState,
                "start {} of box {} has been overtaken by another; `boxlite ls -a` shows what came of it", generation, row->name);
  }
  FAILPOINT("lease.taken");
  TRY_ASSIGN(const LeaseRecord record, own_record(generation));
  TRY(write_record(lock, to_json(record)));
  return Lease(std::move(lock));
}

Result<void> Lease::leave(const ExitRecord& exit) {
  TRY_ASSIGN(const LeaseRecord record, own_record(exit.generation));
  Json json = to_json(record);
  json["exit"] = to_json(with_short_reason(exit));
  return write_record(lock_, json);
}

Result<LeaseState> probe_lease(const HomePaths& paths, std::string_view id) {
  const std::string path = paths.lease(id);
  LeaseState state;
  TRY_ASSIGN(state.held, OfdLock::held(path));
  state.record = read_record(path);
  return state;
}

Result<std::optional<UniqueFd>> open_lease_holder(const HomePaths& paths, std::string_view id) {
  TRY_ASSIGN(const std::string boot, boot_id());
  TRY_ASSIGN(const std::uint64_t own_namespace, pid_namespace());
  // Lock, write and release of another process are microseconds apart: what does not fit together is looked at again.
  const auto begin = std::chrono::steady_clock::now();
  const auto deadline = begin + std::chrono::seconds(5);
  auto ask_listener = begin + kRecordPatience;
  for (;;) {
    TRY_ASSIGN(const LeaseState state, probe_lease(paths, id));
    if (!state.held) return std::nullopt;
    if (state.record && state.record->boot_id == boot) {
      if (state.record->pid_namespace != own_namespace) {
        return fail(ErrorCode::kUnsupported,
                    "the shim of box {} runs in another PID namespace (as pid {} there); run this command in the same container",
                    id, state.record->pid);
      }
      auto pidfd = open_process(state.record->pid, state.record->start_time);
      if (pidfd) {
        TRY_ASSIGN(const bool still_held, OfdLock::held(paths.lease(id)));
        if (still_held) return std::move(*pidfd);
        continue;
      }
      if (pidfd.error().code() != ErrorCode::kNotFound) return std::unexpected(pidfd.error());
    }
    const auto now = std::chrono::steady_clock::now();
    if (now >= ask_listener) {
      TRY_ASSIGN(std::optional<UniqueFd> listener, open_listener(paths, id));
      TRY_ASSIGN(const bool still_held, OfdLock::held(paths.lease(id)));
      if (listener && still_held) return std::move(*listener);
      ask_listener = now + kRecordPatience;
    }
    if (now >= deadline) {
      return fail(ErrorCode::kUnavailable, "the lease of box {} is held by a process that has not written itself into it", id);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

OpLock::OpLock(OfdLock lock, const HomePaths& paths, std::string id)
    : lock_(std::move(lock)), guard_(lock_.fd()), paths_(paths), id_(std::move(id)) {}

Result<OpLock::Locked> OpLock::acquire(const HomePaths& paths, const Database& database, const std::string& id,
                                       std::chrono::milliseconds timeout) {
  if (!is_box_id(id)) return fail(ErrorCode::kInvalidArgument, "\"{}\" is not a box id", id);
  for (;;) {
    auto lock = OfdLock::acquire(paths.op_lock(id), timeout);
    if (!lock) {
      if (lock.error().code() != ErrorCode::kUnavailable) return std::unexpected(lock.error());
      return fail(ErrorCode::kUnavailable, "box {} is being changed by another command, which is taking long; try again", id);
    }
    OpLock op(std::move(*lock), paths, id);
    TRY_ASSIGN(std::optional<BoxRow> row, database.box(id));
    const bool linked = op.lock_.still_linked();
    if (row && linked) return Locked{std::move(op), std::move(*row)};
    if (!row) {
      if (linked) TRY(op.unlink_lock_files());
      return fail(ErrorCode::kNotFound, "box {} was removed; `boxlite ls -a` lists those that are here", id);
    }
  }
}

Result<std::optional<OpLock>> OpLock::try_acquire(const HomePaths& paths, const std::string& id) {
  if (!is_box_id(id)) return fail(ErrorCode::kInvalidArgument, "\"{}\" is not a box id", id);
  TRY_ASSIGN(std::optional<OfdLock> lock, OfdLock::try_acquire(paths.op_lock(id)));
  if (!lock || !lock->still_linked()) return std::nullopt;
  return OpLock(std::move(*lock), paths, id);
}

Result<bool> OpLock::take_lease() {
  TRY_ASSIGN(lease_, OfdLock::try_acquire(paths_.lease(id_)));
  if (lease_) lease_guard_ = ForkGuard(lease_->fd());
  return lease_.has_value();
}

Result<void> OpLock::unlink_lock_files() {
  TRY(sys::unlink(paths_.lease(id_)));
  TRY(sys::unlink(paths_.vm_lock(id_)));
  FAILPOINT("lock.unlink");
  return sys::unlink(paths_.op_lock(id_));
}

void OpLock::release() {
  lease_guard_ = ForkGuard();
  lease_.reset();
  guard_ = ForkGuard();
  lock_.release();
}

}  // namespace boxlite

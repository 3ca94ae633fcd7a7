// Theory of operation.
//
// A removal is a chain of steps, each of which may be the last one before the remover is killed, and each of which does no harm
// when it is done twice:
//
//   1  the row gets the remove intent         from here on the box cannot be started, and whoever comes by may finish
//   2  boxes/<id> is renamed to trash/        one moment in which the box's directory ceases to exist
//   3  the row is deleted                     the name is free
//   4  the files in trash/ are deleted
//   5  the lock files are unlinked            the operation lock's last
//
// 1 and 3 need space in SQLite's log, and a box that has filled the disk is what its user removes to get space. The home's
// reserve serves for that (disk_reserve.h). When 1 finds no space all the same, the box's disk is emptied first: nothing of the
// box is wanted any more, and nothing has it open. When 3 finds none, 4 goes before it.
//
// All of it under the operation lock and the lease, with the VM lock seen free: no start, no late shim and no process of the VM
// can be at work in between. What is left behind by a killed remover before 3 is a row with an intent; after 3, files of an id
// without a row. A killed creation leaves the latter as well (create.cc), since it makes the row last. sweep_home() looks for
// both; a command that works on a box holds its operation lock throughout, so a free one says that nobody will come back.
#include "runtime/removal.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <set>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "runtime/box_cgroup.h"
#include "runtime/box_config.h"
#include "runtime/disk_reserve.h"
#include "runtime/exit_record.h"
#include "runtime/image_removal.h"
#include "runtime/observe.h"
#include "runtime/shim_kill.h"
#include "runtime/volumes.h"

namespace boxlite {
namespace {

Result<std::vector<std::string>> entries_of(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), ::closedir);
  if (!stream) return fail_errno("opendir {}", directory);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream.get())) names.emplace_back(entry->d_name);
  return names;
}

Result<void> rename_to_trash(const HomePaths& paths, const std::string& id) {
  auto renamed = sys::rename(paths.box(id), fmt::format("{}/{}-{}", paths.trash(), id, sys::random_hex(4)));
  if (!renamed && renamed.error().error_number() != ENOENT) return renamed;
  return sync_directory(paths.boxes());
}

Result<void> empty_trash(const HomePaths& paths, const std::string& id) {
  TRY_ASSIGN(const std::vector<std::string> names, entries_of(paths.trash()));
  for (const std::string& name : names) {
    if (name.starts_with(id + "-")) TRY(remove_tree(paths.trash() + "/" + name));
  }
  return {};
}

// True: the write failed for lack of space, and nothing else.
bool disk_full(const Result<void>& written) { return !written && written.error().code() == ErrorCode::kResourceExhausted; }

Result<void> empty_disk(const HomePaths& paths, const std::string& id) {
  const auto disk = sys::open(paths.disk(id), O_WRONLY | O_NOFOLLOW);
  if (!disk) return std::unexpected(disk.error());
  if (::ftruncate(disk->get(), 0) < 0) return fail_errno("truncate {}", paths.disk(id));
  return {};
}

Result<void> write_intent(const HomePaths& paths, Database& database, const std::string& id) {
  auto written = database.set_remove_intent(id);
  if (!disk_full(written) || !empty_disk(paths, id)) return written;
  written = database.set_remove_intent(id);
  if (written) return {};
  return std::unexpected(std::move(written).error().context(fmt::format("box {} is half removed, its disk is lost already", id)));
}

Result<void> delete_row(const HomePaths& paths, Database& database, const std::string& id) {
  auto deleted = database.delete_box(id);
  if (!disk_full(deleted)) return deleted;
  TRY(empty_trash(paths, id));
  return database.delete_box(id);
}

// The caller holds the operation lock and the lease, and has seen the VM lock free.
Result<void> remove_locked(const HomePaths& paths, Database& database, OpLock& op, const std::string& id) {
  const DiskReserve reserve(paths.reserve());
  FAILPOINT("remove.locked");
  TRY(remove_left_cgroup(paths, id));
  TRY(write_intent(paths, database, id));
  FAILPOINT("remove.intent");
  TRY(rename_to_trash(paths, id));
  FAILPOINT("remove.rename");
  TRY(delete_row(paths, database, id));
  FAILPOINT("remove.row");
  TRY(empty_trash(paths, id));
  FAILPOINT("remove.files");
  TRY(op.unlink_lock_files());
  FAILPOINT("remove.locks");
  return {};
}

// The id that a file of the home belongs to, by the name it has in its folder; "" for a file that belongs to no box.
std::string id_of(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return {};
  name.remove_prefix(prefix.size());
  const std::string id(name.substr(0, 12));
  const bool ends_there = name.size() == 12 || name[12] == '.' || name[12] == '-';
  return is_box_id(id) && ends_there ? id : std::string();
}

Result<std::set<std::string>> ids_with_files(const HomePaths& paths) {
  std::set<std::string> ids;
  const std::pair<std::string, std::string_view> folders[] = {
      {paths.locks(), ""}, {paths.boxes(), ""}, {paths.trash(), ""}, {paths.tmp(), kNewBoxPrefix}};
  for (const auto& [directory, prefix] : folders) {
    TRY_ASSIGN(const std::vector<std::string> names, entries_of(directory));
    for (const std::string& name : names) {
      if (directory == paths.trash() && !(name.size() > 12 && name[12] == '-')) continue;  // as rename_to_trash() has it
      if (std::string id = id_of(name, prefix); !id.empty()) ids.insert(std::move(id));
    }
  }
  return ids;
}

// A removal that was interrupted, or files without a row. Anything that somebody still works on, or that still runs, is left
// alone.
Result<void> sweep_one(const HomePaths& paths, Database& database, const std::string& id) {
  TRY_ASSIGN(std::optional<OpLock> op, OpLock::try_acquire(paths, id));
  if (!op) return {};
  TRY_ASSIGN(const std::optional<BoxRow> row, database.box(id));
  if (row && !row->remove_intent) return {};
  TRY_ASSIGN(const bool free, op->take_lease());
  TRY_ASSIGN(const bool vm_alive, OfdLock::held(paths.vm_lock(id)));
  if (!free || vm_alive) return {};
  TRY(remove_tree(paths.new_box(id)));
  return remove_locked(paths, database, *op, id);
}

Result<void> remove_anonymous_volumes(const HomePaths& paths, Database& database, const BoxRow& row) {
  TRY_ASSIGN(const BoxConfig config, box_config_from_json(row.config));
  for (const Mount& mount : config.mounts) {
    if (!mount.anonymous) continue;
    const auto removed = remove_volume(paths, database, mount.name);
    // Another box may have it by name, and another command may have removed it.
    const bool other =
        !removed && (removed.error().code() == ErrorCode::kInvalidState || removed.error().code() == ErrorCode::kNotFound);
    if (!removed && !other) return removed;
  }
  return {};
}

std::unexpected<Error> refuse_running(const HomePaths& paths, const Database& database, const BoxRow& row) {
  const auto seen = observe(paths, database, row);
  if (seen && derive_status(*seen).status == BoxStatus::kStopping) {
    return fail(ErrorCode::kInvalidState,
                "box {} is stopping; wait for its end (boxlite wait {}), or end and remove it: boxlite rm -f {}", row.name,
                row.name, row.name);
  }
  return fail(ErrorCode::kInvalidState,
              "box {} is running; stop it first (boxlite stop {}), or end and remove it: boxlite rm -f {}", row.name, row.name,
              row.name);
}

}  // namespace

Result<void> remove_box(const HomePaths& paths, Database& database, const std::string& id, bool force, bool volumes) {
  TRY_ASSIGN(OpLock::Locked locked, OpLock::acquire(paths, database, id));
  TRY_ASSIGN(bool free, locked.lock.take_lease());
  if (!free) {
    if (!force) return refuse_running(paths, database, locked.row);
    TRY(kill_shim(paths, id));
    TRY_ASSIGN(free, locked.lock.take_lease());
    if (!free)
      return fail(ErrorCode::kUnavailable, "another shim took over box {} while it was being removed; try again",
                  locked.row.name);
    FAILPOINT("remove.killed");
    // For those who wait for the box's end. It is a courtesy: a full disk does not keep the box.
    (void)write_exit_record(paths, id, killed_record(locked.row.generation, "killed by rm -f"));
  }
  TRY(wait_vm_gone(paths, id));
  TRY(remove_locked(paths, database, locked.lock, id));
  collect_base(paths, database, locked.row.image_id);
  return volumes || locked.row.auto_remove ? remove_anonymous_volumes(paths, database, locked.row) : Result<void>();
}

Result<void> remove_own_box(const HomePaths& paths, Database& database, const std::string& id) {
  TRY_ASSIGN(OpLock::Locked locked, OpLock::acquire(paths, database, id));
  TRY(remove_locked(paths, database, locked.lock, id));
  collect_base(paths, database, locked.row.image_id);
  return remove_anonymous_volumes(paths, database, locked.row);
}

Result<std::set<std::string>> unfinished_boxes(const HomePaths& paths, const Database& database) {
  // Rows after files: a box that is being made has files before its row, and then is seen with both.
  TRY_ASSIGN(std::set<std::string> ids, ids_with_files(paths));
  TRY_ASSIGN(const std::vector<BoxRow> rows, database.boxes());
  for (const BoxRow& row : rows) {
    if (row.remove_intent) {
      ids.insert(row.id);
    } else {
      ids.erase(row.id);
    }
  }
  return ids;
}

Result<void> sweep_home(const HomePaths& paths, Database& database) {
  TRY_ASSIGN(const std::set<std::string> ids, unfinished_boxes(paths, database));
  for (const std::string& id : ids) TRY(sweep_one(paths, database, id));
  return sweep_volumes(paths, database);
}

}  // namespace boxlite

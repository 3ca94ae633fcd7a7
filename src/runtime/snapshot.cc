// Theory of operation.
//
// A snapshot is made in snapshots/.<random>.new and renamed; it is removed by the rename back, and then file by file. What has
// such a name and nobody's lock (capture.lock) was left by a command that was killed, and goes with the next snapshot.
//
// To restore one, what the box is to consist of is built beside it, as restore.new, and renamed to restore: that is the moment.
// Then its parts are put in their places, each step harmless when it is done twice, and restore goes. A command that is killed in
// between has its work finished by the next start or snapshot.
#include "runtime/snapshot.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/defer.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"
#include "disk/qcow2.h"
#include "image/box_archive.h"
#include "image/image_job.h"
#include "runtime/box_config.h"
#include "runtime/capture.h"
#include "runtime/checkpoint.h"
#include "runtime/create.h"
#include "runtime/disk_usage.h"
#include "runtime/lease.h"
#include "runtime/listing.h"
#include "runtime/shim_kill.h"

namespace boxlite {
namespace {

constexpr mode_t kFrozen = 0444;

std::string snapshots_of(const std::string& box) { return box + "/snapshots"; }

// At no moment is there none. One that a kill leaves is the next one's, who begins with the same file; gc takes none of this
// name.
Result<void> replace_by_link(const std::string& from, const std::string& to) {
  const std::string made = to + ".placing";
  TRY(sys::unlink(made));
  TRY(link_frozen(from, made));
  TRY(sys::rename(made, to));
  return sys::unlink(made);  // it stays when both are one file
}

// All of `count` and beyond, whether or not there are gaps.
Result<void> remove_layers_from(const std::string& directory, std::size_t count) {
  std::set<std::string> wanted;
  for (std::size_t i = 0; i < count; ++i) wanted.insert(layer_name(i));
  for (const std::string& name : names_in(directory)) {
    if (name.starts_with("layer-") && !wanted.contains(name)) TRY(sys::unlink(directory + "/" + name));
  }
  return {};
}

Result<void> check_name(const std::string& name) {
  if (const auto valid = validate_name(name); !valid) return std::unexpected(valid.error().context("snapshot"));
  return {};
}

std::unexpected<Error> no_snapshot(const BoxRow& row, const std::string& name) {
  return fail(ErrorCode::kNotFound, "box {} has no snapshot {}; `boxlite snapshot ls {}` lists them", row.name, name, row.name);
}

Result<OfdLock> lock_checkpoints(const BoxRow& row, const std::string& box) {
  TRY_ASSIGN(std::optional<OfdLock> lock, try_lock_checkpoints(box));
  if (!lock) return fail(ErrorCode::kInvalidState, "box {}: another checkpoint of it is being taken; wait for its end", row.name);
  return std::move(*lock);
}

Result<std::string> begin_snapshot(const std::string& box) {
  TRY(ensure_directory(snapshots_of(box), 0700));
  std::string work = fmt::format("{}/.{}.new", snapshots_of(box), sys::random_hex(6));
  TRY(sys::mkdir(work, 0700));
  return work;
}

Result<void> sync_all(const std::string& directory) {
  for (const std::string& name : names_in(directory)) {
    TRY_ASSIGN(const UniqueFd fd, sys::open(directory + "/" + name, O_RDONLY | O_NOFOLLOW));
    TRY(sys::fsync(fd.get(), directory + "/" + name));
  }
  return sync_directory(directory);
}

Result<void> commit_snapshot(const std::string& work, CheckpointRecord record, const std::string& target) {
  record.layers = layers_in(work).size();
  TRY(write_file_volatile(work + "/checkpoint.json", dump_json(to_json(record), 1) + "\n", 0600));
  TRY(sync_all(work));
  FAILPOINT("snapshot.written");
  TRY(sys::rename(work, target));
  TRY(sync_directory(target.substr(0, target.rfind('/'))));
  FAILPOINT("snapshot.renamed");
  return {};
}

// The disk of a box that does not run, and what is kept of its memory.
Result<CheckpointRecord> freeze_at_rest(const BoxRow& row, const HomePaths& paths, const std::string& work, bool memory) {
  const std::string box = paths.box(row.id);
  TRY_ASSIGN(std::optional<CheckpointRecord> record, read_checkpoint(box));
  if (memory && !record) {
    return fail(ErrorCode::kInvalidState, "box {} does not run, so there is no memory to keep; without --memory its disk is kept",
                row.name);
  }
  if (memory && !record->boot_id.empty()) {
    TRY_ASSIGN(const std::string boot, boot_id());
    if (record->boot_id != boot) {
      return fail(ErrorCode::kUnsupported,
                  "box {} was forked, and the host went down before it was started: its memory is lost; without --memory its "
                  "disk is kept",
                  row.name);
    }
  }
  const std::vector<std::string> layers = layers_in(box);
  TRY(check_stack(row, paths.disk(row.id), layers));
  if (layers.size() >= image::kMaxBoxLayers) {
    return fail(
        ErrorCode::kUnsupported,
        "the disk of box {} lies on {} frozen ones already; a snapshot of it while it runs makes one of them: boxlite start {}",
        row.name, layers.size(), row.name);
  }
  for (std::size_t i = 0; i < layers.size(); ++i) TRY(link_frozen(layers[i], work + "/" + layer_name(i)));
  if (const auto room = require_checkpoint_room(box, disk_usage(paths.disk(row.id))); !room)
    return std::unexpected(room.error().context("box " + row.name));
  TRY(copy_file(paths.disk(row.id), work + "/" + layer_name(layers.size()), kFrozen));
  if (memory) {
    for (const char* file : {"/memory", "/device-state"}) TRY(link_frozen(box + file, work + file));
    record->boot_id.clear();  // all is made durable here
    if (!record->memory_crc32) {
      TRY_ASSIGN(record->memory_crc32, memory_checksum(work + "/memory"));
    }
    return std::move(*record);
  }
  CheckpointRecord of_disk;
  of_disk.box_id = row.id;
  of_disk.created_at = sys::utc_now();
  return of_disk;
}

// The operation lock of a box that does not run, which no other command starts then; nullopt: it runs. Without its lease: who has
// that is taken for its shim, and should answer.
Result<std::optional<OpLock::Locked>> lock_at_rest(Context& context, const BoxRow& row) {
  TRY_ASSIGN(OpLock::Locked locked, OpLock::acquire(context.paths, context.database, row.id));
  TRY_ASSIGN(const LeaseState lease, probe_lease(context.paths, row.id));
  if (lease.held) return std::nullopt;
  TRY(wait_vm_gone(context.paths, row.id));
  TRY(finish_restore(context.paths.box(row.id)));
  return std::optional(std::move(locked));
}

}  // namespace

Result<void> with_frozen_box(
    Context& context, const BoxRow& row, bool memory,
    const std::function<Result<void>(const std::string& directory, const CheckpointRecord& record)>& use) {
  const std::string box = context.paths.box(row.id);
  TRY_ASSIGN(const std::optional<OpLock::Locked> at_rest, lock_at_rest(context, row));
  if (at_rest) {
    TRY_ASSIGN(const OfdLock lock, lock_checkpoints(row, box));
    TRY(remove_capture_leftovers(box));
    TRY_ASSIGN(const std::string work, begin_snapshot(box));
    const Defer discard([&work] { (void)remove_tree(work); });
    TRY_ASSIGN(const CheckpointRecord record, freeze_at_rest(row, context.paths, work, memory));
    return use(work, record);
  }
  TRY_ASSIGN(Capture capture, Capture::take(context, row, {.memory = memory, .disk = true, .write_out = true}));
  if (memory) TRY(capture.go_on());
  TRY_ASSIGN(const std::string work, begin_snapshot(box));
  const Defer discard([&work] { (void)remove_tree(work); });
  TRY(capture.move_into(work));
  CheckpointRecord record = capture.record();
  if (memory) {
    TRY_ASSIGN(record.memory_crc32, memory_checksum(work + "/memory"));
  }
  return use(work, record);
}

Result<void> create_snapshot(Context& context, const BoxRow& row, const std::string& name, bool memory) {
  TRY(check_name(name));
  const std::string box = context.paths.box(row.id);
  const std::string target = snapshots_of(box) + "/" + name;
  if (::access(target.c_str(), F_OK) == 0) {
    return fail(ErrorCode::kAlreadyExists,
                "box {} has a snapshot {} already; choose another name, or remove it: boxlite snapshot rm {} {}", row.name, name,
                row.name, name);
  }
  return with_frozen_box(context, row, memory, [&](const std::string& directory, const CheckpointRecord& record) {
    return commit_snapshot(directory, record, target);
  });
}

Result<std::vector<SnapshotInfo>> list_snapshots(const Context& context, const BoxRow& row) {
  const std::string directory = snapshots_of(context.paths.box(row.id));
  std::vector<SnapshotInfo> found;
  for (const std::string& name : names_in(directory)) {
    if (name.starts_with('.')) continue;
    const std::string path = directory + "/" + name;
    TRY_ASSIGN(const std::optional<CheckpointRecord> record, read_checkpoint(path));
    if (!record) continue;  // it is just being removed
    found.push_back(
        {.name = name, .created_at = record->created_at, .memory = record->memory_bytes > 0, .bytes = disk_usage(path)});
  }
  std::ranges::sort(found, {}, &SnapshotInfo::created_at);
  return found;
}

Result<void> remove_snapshot(const Context& context, const BoxRow& row, const std::string& name) {
  TRY(check_name(name));
  const std::string box = context.paths.box(row.id);
  TRY_ASSIGN(const OfdLock lock, lock_checkpoints(row, box));
  const std::string trash = fmt::format("{}/.{}.new", snapshots_of(box), sys::random_hex(6));
  const auto renamed = sys::rename(snapshots_of(box) + "/" + name, trash);
  if (!renamed && renamed.error().error_number() == ENOENT) return no_snapshot(row, name);
  TRY(renamed);
  FAILPOINT("snapshot.removed");
  TRY(remove_tree(trash));
  return sync_directory(snapshots_of(box));
}

Result<void> check_stack(const BoxRow& row, const std::string& disk, const std::vector<std::string>& layers) {
  const auto below = disk::backing_file(disk);
  const std::string wanted =
      layers.empty() ? "../../bases/" + image::base_file_name(row.image_id) : layer_name(layers.size() - 1);
  if (!below || *below == wanted) return {};
  return fail(
      ErrorCode::kCorrupt,
      "box {}: its disk lies on {}, and of the frozen disks in {} only {} are there; bring the others back from a backup, "
      "or go back to another snapshot: boxlite snapshot ls {}",
      row.name, *below, disk.substr(0, disk.rfind('/')), layers.size(), row.name);
}

Result<void> build_from_snapshot(const std::string& snapshot, const std::string& directory, std::uint64_t disk_bytes,
                                 bool with_memory) {
  const std::vector<std::string> layers = layers_in(snapshot);
  if (layers.empty()) return fail(ErrorCode::kCorrupt, "{} has no disk", snapshot);
  for (std::size_t i = 0; i < layers.size(); ++i) TRY(link_frozen(layers[i], directory + "/" + layer_name(i)));
  TRY(disk::create_overlay(directory + "/disk.qcow2", disk_bytes, layer_name(layers.size() - 1), "qcow2"));
  if (!with_memory) return {};
  for (const char* file : {"/memory", "/device-state"}) TRY(link_frozen(snapshot + file, directory + file));
  return copy_file(snapshot + "/checkpoint.json", directory + "/checkpoint.json", 0600);
}

Result<void> restore_snapshot(Context& context, const BoxRow& row, const std::string& name) {
  TRY(check_name(name));
  TRY_ASSIGN(const std::optional<OpLock::Locked> at_rest, lock_at_rest(context, row));
  if (!at_rest) {
    return fail(ErrorCode::kInvalidState,
                "box {} is running, and what it has not written would be lost; stop it first: boxlite stop {}", row.name,
                row.name);
  }
  const std::string box = context.paths.box(row.id);
  TRY_ASSIGN(const OfdLock lock, lock_checkpoints(row, box));
  const std::string snapshot = snapshots_of(box) + "/" + name;
  TRY_ASSIGN(const std::optional<CheckpointRecord> record, read_checkpoint(snapshot));
  if (!record) return no_snapshot(row, name);
  TRY(check_files(snapshot, *record));
  if (const std::size_t there = layers_in(snapshot).size(); record->layers != 0 && record->layers != there) {
    return fail(ErrorCode::kCorrupt,
                "snapshot {} of box {} had {} disks one on the other, and {} of them are in {}: bring the others "
                "back from a backup, or go back to another snapshot: boxlite snapshot ls {}",
                name, row.name, record->layers, there, snapshot, row.name);
  }
  TRY_ASSIGN(const BoxConfig config, box_config_from_json(row.config));
  TRY_ASSIGN(const std::uint64_t bytes, disk_size(context.paths, config.options, row.image_id));
  const std::string work = box + "/restore.new";
  TRY(remove_tree(work));
  TRY(sys::mkdir(work, 0700));
  Defer discard([&work] { (void)remove_tree(work); });
  TRY(build_from_snapshot(snapshot, work, bytes, record->memory_bytes > 0));
  TRY(sync_directory(work));
  FAILPOINT("restore.built");
  TRY(sys::rename(work, box + "/restore"));
  TRY(sync_directory(box));
  discard.cancel();
  FAILPOINT("restore.begun");
  return finish_restore(box);
}

Result<void> finish_restore(const std::string& box) {
  const std::string from = box + "/restore";
  if (::access(from.c_str(), F_OK) < 0) return {};
  // First: no memory may find a disk that is not its own.
  TRY(sys::unlink(box + "/checkpoint.json"));
  TRY(sync_directory(box));
  const std::vector<std::string> layers = layers_in(from);
  TRY(remove_layers_from(box, layers.size()));
  for (std::size_t i = 0; i < layers.size(); ++i) TRY(replace_by_link(layers[i], box + "/" + layer_name(i)));
  FAILPOINT("restore.layers");
  const auto moved = sys::rename(from + "/disk.qcow2", box + "/disk.qcow2");
  if (!moved && moved.error().error_number() != ENOENT) return moved;  // it was, by a command before this
  FAILPOINT("restore.disk");
  const bool with_memory = has_checkpoint(from);
  for (const char* file : {"/memory", "/device-state"}) {
    TRY(with_memory ? replace_by_link(from + file, box + file) : sys::unlink(box + file));
  }
  TRY(sync_directory(box));
  if (with_memory) {
    TRY_ASSIGN(const std::string record, read_file(from + "/checkpoint.json", std::size_t{64} << 10U));
    TRY(write_file_atomic(box + "/checkpoint.json", record, 0600));
  }
  FAILPOINT("restore.placed");
  TRY(sys::rename(from, box + "/restore.new"));
  TRY(sync_directory(box));
  return remove_tree(box + "/restore.new");
}

}  // namespace boxlite

// Snapshots of a box, in its directory: snapshots/<name>/ holds what checkpoint.h lists. A snapshot appears and goes by one
// rename.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "boxlite/box.h"
#include "runtime/checkpoint.h"
#include "runtime/context.h"

namespace boxlite {

/// As Box::create_snapshot() and its like.
Result<void> create_snapshot(Context& context, const BoxRow& row, const std::string& name, bool memory);
Result<std::vector<SnapshotInfo>> list_snapshots(const Context& context, const BoxRow& row);
Result<void> remove_snapshot(const Context& context, const BoxRow& row, const std::string& name);
Result<void> restore_snapshot(Context& context, const BoxRow& row, const std::string& name);

/// Freezes a box, whether it runs or not, into a directory of its own (the files of checkpoint.h but the record) and calls `use`.
/// What that has not moved elsewhere is removed when it returns.
Result<void> with_frozen_box(
    Context& context, const BoxRow& row, bool memory,
    const std::function<Result<void>(const std::string& directory, const CheckpointRecord& record)>& use);

/// A restore that was begun and not finished, because its command was killed. With the box's operation lock, before anything else
/// is done with its disk.
Result<void> finish_restore(const std::string& box_directory);

/// With a frozen disk lost, what is left would be another disk: kCorrupt. What cannot be read at all is told by QEMU.
Result<void> check_stack(const BoxRow& row, const std::string& disk, const std::vector<std::string>& layers);

/// Makes a directory into what a box is of: links to the frozen files of a snapshot, and an empty disk on top of its layers.
/// `with_memory`: its record, memory and device state too.
Result<void> build_from_snapshot(const std::string& snapshot, const std::string& directory, std::uint64_t disk_bytes,
                                 bool with_memory);

}  // namespace boxlite

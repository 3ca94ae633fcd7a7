// boxes/<id>/exit.json: what became of a start. Written under the lease, by the shim as its last act, or by whoever ended it.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "runtime/paths.h"
#include "runtime/records.h"

namespace boxlite {

/// nullopt: there is none, or none that can be read.
std::optional<ExitRecord> read_exit_record(const std::string& path);

/// The one that Lease::leave() has put into a lease file.
std::optional<ExitRecord> read_left_record(const std::string& lease_path);

/// As it is kept. The reason may quote the guest, and is shown in tables and on terminals: one line of at most 2000 bytes, with
/// nothing that a terminal acts upon.
ExitRecord with_short_reason(ExitRecord record);

/// Sets space aside for the record of a start that is under way: how a box has ended is told even where a disk has no block left,
/// and somebody takes each that comes free.
Result<void> reserve_exit_record(const HomePaths& paths, const std::string& id);

/// And the end in the box's audit log. Durable when it returns. A record that this start has already is kept: the first word is
/// the shim's own.
Result<void> write_exit_record(const HomePaths& paths, const std::string& id, ExitRecord record);

/// Of a box that was ended from outside by SIGKILL, now.
ExitRecord killed_record(std::uint64_t generation, std::string reason);

}  // namespace boxlite

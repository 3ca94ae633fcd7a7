// What a box's locks and records mean: one pure function from what was seen to what is true (DESIGN §3's table).
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "boxlite/box_info.h"
#include "runtime/database.h"
#include "runtime/lease.h"
#include "runtime/records.h"

namespace boxlite {

/// Everything that was seen of one box. To mean anything it must be collected in the order of the members (observe.cc).
struct Observation {
  BoxRow row;
  bool op_lock_held = false;
  LeaseState lease;
  std::optional<StateRecord> state;
  std::optional<ExitRecord> exit;
  bool checkpoint = false;   // there is one that the next start goes on from; looked at when the lease is free
  std::string boot_id;       // of now
  bool shim_silent = false;  // the lease is held, and the shim is stopped or did not answer in time
  bool paused_by_user = false;
  std::string paused;                         // why the VM is paused, as its shim says
  std::optional<NetworkUsage> network_usage;  // the same
  std::string last_words;                     // what console and shim log end with; used only when the box crashed
};

struct DerivedStatus {
  BoxStatus status = BoxStatus::kCreated;
  std::string reason;
  std::optional<int> exit_code;
};

DerivedStatus derive_status(const Observation& seen);

/// True for an answer that rests on something being absent, which may only have come too late to be seen: look again before it is
/// believed.
bool rests_on_absence(const Observation& seen);

}  // namespace boxlite

// What stands between a box and its host, by process: for `info`, of this host, and for `inspect`, of a box that runs.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "boxlite/box_info.h"
#include "vmm/accelerator.h"

namespace boxlite {

/// What of a host decides which layers there are.
struct IsolationFacts {
  bool kvm = false;
  std::string no_kvm;  // why not
  int landlock = 0;    // its version; 0: none
  bool root = false;
  bool root_may_mount = false;    // root has CAP_SYS_ADMIN
  std::string cgroup_place = {};  // for boxes' cgroups (vmm/vm_cgroup.h); "": none
  std::string no_cgroup = {};     // why not
};
IsolationFacts isolation_facts(const vmm::AcceleratorChoice& choice);

/// All layers, those that this host does not offer with the reason. The others are always in force: a process of a box that
/// cannot take one on ends.
std::vector<IsolationLayer> isolation_layers(const IsolationFacts& facts);

/// For --security strict: kUnsupported, naming every layer that is not there.
Result<void> require_all(const std::vector<IsolationLayer>& layers);

Json to_json(const std::vector<IsolationLayer>& layers);
Result<std::vector<IsolationLayer>> isolation_layers_from_json(const Json& json);

}  // namespace boxlite

#include "runtime/isolation.h"

#include <unistd.h>

#include "base/landlock.h"
#include "vmm/jail.h"
#include "vmm/vm_cgroup.h"

namespace boxlite {

IsolationFacts isolation_facts(const vmm::AcceleratorChoice& choice) {
  const auto place = vmm::find_cgroup_place();
  return {.kvm = choice.accelerator == vmm::Accelerator::kKvm,
          .no_kvm = choice.reason,
          .landlock = landlock_version(),
          .root = ::geteuid() == 0,
          .root_may_mount = vmm::has_sys_admin(),
          .cgroup_place = place.value_or(""),
          .no_cgroup = place ? "" : place.error().message()};
}

std::vector<IsolationLayer> isolation_layers(const IsolationFacts& facts) {
  std::vector<IsolationLayer> layers;
  const auto add = [&layers](const char* process, const char* name, bool on = true, const std::string& reason = "") {
    layers.push_back({.process = process, .name = name, .on = on, .reason = on ? "" : reason});
  };
  const std::string no_landlock = "this kernel has none, or it is switched off (Linux 5.13, lsm=landlock)";
  add("vm", "kvm", facts.kvm, "under TCG QEMU promises no isolation of its own: " + facts.no_kvm);
  add("vm", "namespaces");
  add("vm", "unprivileged user", !facts.root || facts.root_may_mount,
      "root has no CAP_SYS_ADMIN here: QEMU runs as root, in a user namespace");
  add("vm", "seccomp");
  add("vm", "limits");
  add("vm", "cgroup", !facts.cgroup_place.empty(), facts.no_cgroup);
  add("shim", "landlock", facts.landlock > 0, no_landlock);
  add("shim", "seccomp");
  add("network", "landlock", facts.landlock > 0, no_landlock);
  add("network", "seccomp");
  add("network", "limits");
  add("volumes", "namespaces");
  add("volumes", "seccomp");
  return layers;
}

Result<void> require_all(const std::vector<IsolationLayer>& layers) {
  std::string missing;
  for (const IsolationLayer& layer : layers) {
    if (!layer.on)
      missing += fmt::format("{}{} of {} ({})", missing.empty() ? "" : "; ", layer.name, layer.process, layer.reason);
  }
  if (missing.empty()) return {};
  return fail(ErrorCode::kUnsupported, "--security strict wants every layer, and this host has no {}", missing);
}

Json to_json(const std::vector<IsolationLayer>& layers) {
  Json json = Json::array();
  for (const IsolationLayer& layer : layers)
    json.push_back({{"process", layer.process}, {"layer", layer.name}, {"on", layer.on}, {"reason", layer.reason}});
  return json;
}

Result<std::vector<IsolationLayer>> isolation_layers_from_json(const Json& json) {
  constexpr std::string_view what = "isolation";
  std::vector<IsolationLayer> layers;
  for (const Json& entry : json) {
    IsolationLayer layer;
    TRY_ASSIGN(layer.process, json_get<std::string>(entry, "process", what));
    TRY_ASSIGN(layer.name, json_get<std::string>(entry, "layer", what));
    TRY_ASSIGN(layer.on, json_get<bool>(entry, "on", what));
    TRY_ASSIGN(layer.reason, json_get<std::string>(entry, "reason", what));
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace boxlite

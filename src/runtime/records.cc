#include "runtime/records.h"

#include <array>
#include <string_view>
#include <utility>

#include "runtime/byte_text.h"
#include "runtime/isolation.h"

namespace boxlite {
namespace {

constexpr std::array<std::pair<Phase, std::string_view>, 3> kPhases = {{
    {Phase::kStarting, "starting"},
    {Phase::kRunning, "running"},
    {Phase::kStopping, "stopping"},
}};

std::string_view phase_name(Phase phase) {
  for (const auto& [value, text] : kPhases) {
    if (value == phase) return text;
  }
  return "starting";
}

Result<Phase> phase_from_name(std::string_view name, std::string_view what) {
  for (const auto& [value, text] : kPhases) {
    if (text == name) return value;
  }
  return fail(ErrorCode::kCorrupt, "{}: unknown phase \"{}\"", what, name);
}

Result<std::string> get_bytes(const Json& json, std::string_view key, std::string_view what) {
  TRY_ASSIGN(const std::string text, json_get<std::string>(json, key, what));
  return text_to_bytes(text, what);
}

// A reader refuses a newer version than its own: fields it does not know could change what the others mean.
Result<void> check_version(const Json& json, std::string_view what) {
  TRY_ASSIGN(const int version, json_get<int>(json, "version", what));
  if (version < 1 || version > kRecordVersion) {
    return fail(ErrorCode::kUnsupported, "{} has version {}; this boxlite knows versions up to {}", what, version,
                kRecordVersion);
  }
  return {};
}

Json vm_to_json(const vmm::VmConfig& vm) {
  Json json = {{"accelerator", to_string(vm.accelerator)},
               {"cpus", vm.cpus},
               {"memory_mib", vm.memory_mib},
               {"kernel", bytes_to_text(vm.kernel)},
               {"initramfs", bytes_to_text(vm.initramfs)},
               {"base_image", bytes_to_text(vm.base_image)},
               {"layers", byte_list_to_json(vm.layers)},
               {"overlay", bytes_to_text(vm.overlay)},
               {"tsc_khz", vm.tsc_khz}};
  if (vm.uid) json["uid"] = *vm.uid;
  if (vm.memory_file) {
    json["memory_file"] = {{"path", bytes_to_text(vm.memory_file->path)}, {"shared", vm.memory_file->shared}};
    json["device_state"] = bytes_to_text(vm.device_state);
    json["process_image"] = bytes_to_text(vm.process_image);
    json["stand_still"] = vm.stand_still;
  }
  return json;
}

Result<vmm::VmConfig> vm_from_json(const Json& json) {
  constexpr std::string_view what = "vm configuration";
  vmm::VmConfig vm;
  TRY_ASSIGN(const std::string accelerator, json_get<std::string>(json, "accelerator", what));
  if (accelerator == to_string(vmm::Accelerator::kKvm)) {
    vm.accelerator = vmm::Accelerator::kKvm;
  } else if (accelerator == to_string(vmm::Accelerator::kTcg)) {
    vm.accelerator = vmm::Accelerator::kTcg;
  } else {
    return fail(ErrorCode::kCorrupt, "{}: unknown accelerator \"{}\"", what, accelerator);
  }
  TRY_ASSIGN(vm.cpus, json_get<unsigned>(json, "cpus", what));
  TRY_ASSIGN(vm.memory_mib, json_get<std::uint64_t>(json, "memory_mib", what));
  TRY_ASSIGN(vm.kernel, get_bytes(json, "kernel", what));
  TRY_ASSIGN(vm.initramfs, get_bytes(json, "initramfs", what));
  TRY_ASSIGN(vm.base_image, get_bytes(json, "base_image", what));
  TRY_ASSIGN(vm.layers, byte_list_from_json(json, "layers", what));
  TRY_ASSIGN(vm.overlay, get_bytes(json, "overlay", what));
  TRY_ASSIGN(vm.tsc_khz, json_get<std::uint64_t>(json, "tsc_khz", what));
  if (json.contains("memory_file")) {
    vmm::MemoryFile& memory = vm.memory_file.emplace();
    TRY_ASSIGN(memory.path, get_bytes(json.at("memory_file"), "path", what));
    TRY_ASSIGN(memory.shared, json_get<bool>(json.at("memory_file"), "shared", what));
    TRY_ASSIGN(vm.device_state, get_bytes(json, "device_state", what));
    TRY_ASSIGN(vm.process_image, get_bytes(json, "process_image", what));
    TRY_ASSIGN(vm.stand_still, json_get<bool>(json, "stand_still", what));
  }
  if (json.contains("uid")) {
    TRY_ASSIGN(vm.uid, json_get<std::uint32_t>(json, "uid", what));
  }
  return vm;
}

Json ports_to_json(const std::vector<PublishedPort>& ports) {
  Json json = Json::array();
  for (const PublishedPort& port : ports) json.push_back(to_json(port));
  return json;
}

Json listeners_to_json(const std::vector<ListenerRecord>& listeners) {
  Json json = Json::array();
  for (const ListenerRecord& listener : listeners) json.push_back({{"fd", listener.fd}, {"port", to_json(listener.port)}});
  return json;
}

Result<std::vector<ListenerRecord>> listeners_from_json(const Json& json) {
  constexpr std::string_view what = "listener";
  std::vector<ListenerRecord> listeners;
  for (const Json& entry : json) {
    ListenerRecord listener;
    TRY_ASSIGN(listener.fd, json_get<int>(entry, "fd", what));
    TRY_ASSIGN(const Json port, json_get<Json>(entry, "port", what));
    TRY_ASSIGN(listener.port, published_port_from_json(port));
    listeners.push_back(std::move(listener));
  }
  return listeners;
}

Json programs_to_json(const vmm::VmPrograms& programs) {
  return {{"qemu", bytes_to_text(programs.qemu)},
          {"bwrap", bytes_to_text(programs.bwrap)},
          {"vm_init", bytes_to_text(programs.vm_init)},
          {"volume_server", bytes_to_text(programs.volume_server)},
          {"memory_guard", bytes_to_text(programs.memory_guard)},
          {"vm_resume", bytes_to_text(programs.vm_resume)}};
}

Result<vmm::VmPrograms> programs_from_json(const Json& json) {
  constexpr std::string_view what = "vm programs";
  vmm::VmPrograms programs;
  TRY_ASSIGN(programs.qemu, get_bytes(json, "qemu", what));
  TRY_ASSIGN(programs.bwrap, get_bytes(json, "bwrap", what));
  TRY_ASSIGN(programs.vm_init, get_bytes(json, "vm_init", what));
  TRY_ASSIGN(programs.volume_server, get_bytes(json, "volume_server", what));
  TRY_ASSIGN(programs.memory_guard, get_bytes(json, "memory_guard", what));
  TRY_ASSIGN(programs.vm_resume, get_bytes(json, "vm_resume", what));
  return programs;
}

}  // namespace

Json to_json(const LeaseRecord& record) {
  return {{"version", kRecordVersion},
          {"pid", record.pid},
          {"start_time", record.start_time},
          {"boot_id", record.boot_id},
          {"pid_namespace", record.pid_namespace},
          {"generation", record.generation}};
}

Result<LeaseRecord> lease_record_from_json(const Json& json) {
  constexpr std::string_view what = "lease record";
  TRY(check_version(json, what));
  LeaseRecord record;
  TRY_ASSIGN(record.pid, json_get<pid_t>(json, "pid", what));
  TRY_ASSIGN(record.start_time, json_get<std::uint64_t>(json, "start_time", what));
  TRY_ASSIGN(record.boot_id, json_get<std::string>(json, "boot_id", what));
  TRY_ASSIGN(record.pid_namespace, json_get<std::uint64_t>(json, "pid_namespace", what));
  TRY_ASSIGN(record.generation, json_get<std::uint64_t>(json, "generation", what));
  if (record.pid <= 0) return fail(ErrorCode::kCorrupt, "{}: pid {} names no process", what, record.pid);
  return record;
}

Json to_json(const StateRecord& record) {
  return {{"version", kRecordVersion},
          {"generation", record.generation},
          {"phase", phase_name(record.phase)},
          {"started_at", record.started_at},
          {"accelerator", record.accelerator},
          {"ports", ports_to_json(record.ports)},
          {"isolation", to_json(record.isolation)},
          {"cgroup_place", bytes_to_text(record.cgroup_place)}};
}

Result<StateRecord> state_record_from_json(const Json& json) {
  constexpr std::string_view what = "state record";
  TRY(check_version(json, what));
  StateRecord record;
  TRY_ASSIGN(record.generation, json_get<std::uint64_t>(json, "generation", what));
  TRY_ASSIGN(const std::string phase, json_get<std::string>(json, "phase", what));
  TRY_ASSIGN(record.phase, phase_from_name(phase, what));
  TRY_ASSIGN(record.started_at, json_get<std::string>(json, "started_at", what));
  TRY_ASSIGN(record.accelerator, json_get<std::string>(json, "accelerator", what));
  if (json.contains("ports")) {  // not of a box that an older boxlite started
    TRY_ASSIGN(const Json ports, json_get<Json>(json, "ports", what));
    for (const Json& entry : ports) {
      TRY_ASSIGN(PublishedPort port, published_port_from_json(entry));
      record.ports.push_back(std::move(port));
    }
  }
  if (json.contains("isolation")) {  // the same
    TRY_ASSIGN(const Json isolation, json_get<Json>(json, "isolation", what));
    TRY_ASSIGN(record.isolation, isolation_layers_from_json(isolation));
  }
  if (json.contains("cgroup_place")) {  // the same
    TRY_ASSIGN(record.cgroup_place, get_bytes(json, "cgroup_place", what));
  }
  return record;
}

Json to_json(const ExitRecord& record) {
  return {{"version", kRecordVersion}, {"generation", record.generation},   {"failed", record.failed},
          {"code", record.code},       {"signal", record.signal},           {"oom_killed", record.oom_killed},
          {"reason", record.reason},   {"finished_at", record.finished_at}, {"suspended", record.suspended}};
}

Result<ExitRecord> exit_record_from_json(const Json& json) {
  constexpr std::string_view what = "exit record";
  TRY(check_version(json, what));
  ExitRecord record;
  TRY_ASSIGN(record.generation, json_get<std::uint64_t>(json, "generation", what));
  TRY_ASSIGN(record.failed, json_get<bool>(json, "failed", what));
  TRY_ASSIGN(record.code, json_get<int>(json, "code", what));
  if (record.code < 0 || record.code > 255) return fail(ErrorCode::kCorrupt, "{}: {} is not an exit code", what, record.code);
  TRY_ASSIGN(record.signal, json_get<int>(json, "signal", what));
  TRY_ASSIGN(record.oom_killed, json_get<bool>(json, "oom_killed", what));
  TRY_ASSIGN(record.reason, json_get<std::string>(json, "reason", what));
  TRY_ASSIGN(record.finished_at, json_get<std::string>(json, "finished_at", what));
  TRY_ASSIGN(record.suspended, json_get_or<bool>(json, "suspended", what, false));
  return record;
}

Json to_json(const ShimConfig& config) {
  Json json = {{"version", kRecordVersion},
               {"home", bytes_to_text(config.home)},
               {"box_id", config.box_id},
               {"generation", config.generation},
               {"owner_bound", config.owner_bound},
               {"attach", config.attach},
               {"box", to_json(config.box)},
               {"env", byte_list_to_json(config.env)},
               {"rows", config.rows},
               {"columns", config.columns},
               {"vm", vm_to_json(config.vm)},
               {"isolation", to_json(config.isolation)},
               {"cgroup_place", bytes_to_text(config.cgroup_place)},
               {"programs", programs_to_json(config.programs)},
               {"net_program", bytes_to_text(config.net_program)},
               {"listeners", listeners_to_json(config.listeners)}};
  if (config.resume) {
    json["resume"] = {{"stdout", config.resume->stdout_offset},
                      {"stderr", config.resume->stderr_offset},
                      {"another_box", config.resume->another_box}};
  }
  return json;
}

Result<ShimConfig> shim_config_from_json(const Json& json) {
  constexpr std::string_view what = "shim configuration";
  TRY(check_version(json, what));
  ShimConfig config;
  TRY_ASSIGN(config.home, get_bytes(json, "home", what));
  TRY_ASSIGN(config.box_id, json_get<std::string>(json, "box_id", what));
  TRY_ASSIGN(config.generation, json_get<std::uint64_t>(json, "generation", what));
  TRY_ASSIGN(config.owner_bound, json_get<bool>(json, "owner_bound", what));
  TRY_ASSIGN(config.attach, json_get<bool>(json, "attach", what));
  TRY_ASSIGN(const Json box, json_get<Json>(json, "box", what));
  TRY_ASSIGN(config.box, box_config_from_json(box));
  TRY_ASSIGN(config.env, byte_list_from_json(json, "env", what));
  TRY_ASSIGN(config.rows, json_get<unsigned>(json, "rows", what));
  TRY_ASSIGN(config.columns, json_get<unsigned>(json, "columns", what));
  TRY_ASSIGN(const Json vm, json_get<Json>(json, "vm", what));
  TRY_ASSIGN(config.vm, vm_from_json(vm));
  TRY_ASSIGN(const Json isolation, json_get<Json>(json, "isolation", what));
  TRY_ASSIGN(config.isolation, isolation_layers_from_json(isolation));
  TRY_ASSIGN(config.cgroup_place, get_bytes(json, "cgroup_place", what));
  TRY_ASSIGN(const Json programs, json_get<Json>(json, "programs", what));
  TRY_ASSIGN(config.programs, programs_from_json(programs));
  TRY_ASSIGN(config.net_program, get_bytes(json, "net_program", what));
  TRY_ASSIGN(const Json listeners, json_get<Json>(json, "listeners", what));
  TRY_ASSIGN(config.listeners, listeners_from_json(listeners));
  if (json.contains("resume")) {
    const Json& resume = json.at("resume");
    config.resume.emplace();
    TRY_ASSIGN(config.resume->stdout_offset, json_get<std::uint64_t>(resume, "stdout", what));
    TRY_ASSIGN(config.resume->stderr_offset, json_get<std::uint64_t>(resume, "stderr", what));
    TRY_ASSIGN(config.resume->another_box, json_get<bool>(resume, "another_box", what));
  }
  return config;
}

Json to_json(const TemplateJob& job) {
  return {{"version", kRecordVersion},
          {"vm", vm_to_json(job.vm)},
          {"programs", programs_to_json(job.programs)},
          {"nic", job.nic},
          {"device_state", bytes_to_text(job.device_state)},
          {"process_image", bytes_to_text(job.process_image)},
          {"console_log", bytes_to_text(job.console_log)},
          {"prepared", job.prepared},
          {"privileged", job.privileged},
          {"commands", byte_list_to_json(job.commands)},
          {"disk_bytes", job.disk_bytes}};
}

Result<TemplateJob> template_job_from_json(const Json& json) {
  constexpr std::string_view what = "template job";
  TRY(check_version(json, what));
  TemplateJob job;
  TRY_ASSIGN(const Json vm, json_get<Json>(json, "vm", what));
  TRY_ASSIGN(job.vm, vm_from_json(vm));
  TRY_ASSIGN(const Json programs, json_get<Json>(json, "programs", what));
  TRY_ASSIGN(job.programs, programs_from_json(programs));
  TRY_ASSIGN(job.nic, json_get<bool>(json, "nic", what));
  TRY_ASSIGN(job.device_state, get_bytes(json, "device_state", what));
  TRY_ASSIGN(job.process_image, get_bytes(json, "process_image", what));
  TRY_ASSIGN(job.console_log, get_bytes(json, "console_log", what));
  TRY_ASSIGN(job.prepared, json_get<bool>(json, "prepared", what));
  TRY_ASSIGN(job.privileged, json_get<bool>(json, "privileged", what));
  TRY_ASSIGN(job.commands, byte_list_from_json(json, "commands", what));
  TRY_ASSIGN(job.disk_bytes, json_get<std::uint64_t>(json, "disk_bytes", what));
  return job;
}

}  // namespace boxlite

#include "runtime/records.h"

#include <array>
#include <string_view>
#include <utility>

#include "runtime/byte_text.h"

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
               {"overlay", bytes_to_text(vm.overlay)},
               {"tsc_khz", vm.tsc_khz}};
  if (vm.uid) json["uid"] = *vm.uid;
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
  TRY_ASSIGN(vm.overlay, get_bytes(json, "overlay", what));
  TRY_ASSIGN(vm.tsc_khz, json_get<std::uint64_t>(json, "tsc_khz", what));
  if (json.contains("uid")) {
    TRY_ASSIGN(vm.uid, json_get<std::uint32_t>(json, "uid", what));
  }
  return vm;
}

Result<vmm::VmPrograms> programs_from_json(const Json& json) {
  constexpr std::string_view what = "vm programs";
  vmm::VmPrograms programs;
  TRY_ASSIGN(programs.qemu, get_bytes(json, "qemu", what));
  TRY_ASSIGN(programs.bwrap, get_bytes(json, "bwrap", what));
  TRY_ASSIGN(programs.vm_init, get_bytes(json, "vm_init", what));
  TRY_ASSIGN(programs.volume_server, get_bytes(json, "volume_server", what));
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
          {"accelerator", record.accelerator}};
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
  return record;
}

Json to_json(const ExitRecord& record) {
  return {{"version", kRecordVersion}, {"generation", record.generation},  {"failed", record.failed},
          {"code", record.code},       {"signal", record.signal},          {"oom_killed", record.oom_killed},
          {"reason", record.reason},   {"finished_at", record.finished_at}};
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
  return record;
}

Json to_json(const ShimConfig& config) {
  return {{"version", kRecordVersion},
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
          {"programs",
           {{"qemu", bytes_to_text(config.programs.qemu)},
            {"bwrap", bytes_to_text(config.programs.bwrap)},
            {"vm_init", bytes_to_text(config.programs.vm_init)},
            {"volume_server", bytes_to_text(config.programs.volume_server)}}}};
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
  TRY_ASSIGN(const Json programs, json_get<Json>(json, "programs", what));
  TRY_ASSIGN(config.programs, programs_from_json(programs));
  return config;
}

}  // namespace boxlite

#include "runtime/host.h"

#include <algorithm>

#include "base/capture.h"
#include "runtime/isolation.h"
#include "runtime/observe.h"
#include "runtime/templates.h"
#include "vmm/jail.h"

namespace boxlite {
namespace {

// The line of `qemu-system-x86_64 --version` that has it, from the version number on.
Result<std::string> qemu_version(const std::string& qemu) {
  TRY_ASSIGN(const Captured printed, capture({qemu, "--version"}));
  const std::string& text = printed.output;
  const std::size_t version = text.find("version ");
  const std::string rest = version == std::string::npos ? text : text.substr(version + 8);
  return rest.substr(0, rest.find('\n'));
}

}  // namespace

Result<vmm::AcceleratorChoice> choose_host_accelerator(const Context& context, const StartPrograms& programs) {
  if (context.accelerator == "tcg") return vmm::AcceleratorChoice{vmm::Accelerator::kTcg, "forced"};
  vmm::VmConfig probe;
  probe.kernel = programs.kernel;
  probe.initramfs = programs.initramfs;
  TRY_ASSIGN(vmm::AcceleratorChoice choice, vmm::choose_accelerator(probe, programs.vm, context.paths.accelerator_memo()));
  if (context.accelerator == "kvm" && choice.accelerator != vmm::Accelerator::kKvm) {
    return fail(ErrorCode::kUnsupported, "--accel kvm cannot be used here: {}; use --accel tcg, or leave --accel out",
                choice.reason);
  }
  return choice;
}

Result<HostInfo> host_info(const Context& context) {
  HostInfo info;
  info.version = BOXLITE_VERSION;
  info.home = context.paths.home();
  TRY_ASSIGN(const StartPrograms programs, find_start_programs());
  TRY_ASSIGN(const vmm::AcceleratorChoice choice, choose_host_accelerator(context, programs));
  info.accelerator = vmm::to_string(choice.accelerator);
  info.accelerator_reason = choice.reason;
  info.isolation = vmm::describe_isolation(choice.accelerator);
  info.isolation_layers = isolation_layers(isolation_facts(choice));
  TRY_ASSIGN(info.qemu_version, qemu_version(programs.vm.qemu));
  TRY_ASSIGN(const std::vector<BoxInfo> boxes, list_boxes(context.paths, context.database));
  info.boxes_total = boxes.size();
  info.boxes_running = static_cast<std::size_t>(std::ranges::count_if(
      boxes, [](const BoxInfo& box) { return box.status == BoxStatus::kRunning || box.status == BoxStatus::kPaused; }));
  TRY_ASSIGN(const std::vector<ImageInfo> images, context.database.images());
  info.images = images.size();
  const TemplateUsage templates = template_usage(context.paths);
  info.templates = templates.count;
  info.template_bytes = templates.bytes;
  info.template_failures = templates.failures;
  TRY_ASSIGN(const StartCounts starts, context.database.start_counts());
  info.starts_restored = starts.restored;
  info.starts_booted = starts.booted;
  return info;
}

}  // namespace boxlite

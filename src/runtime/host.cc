#include "runtime/host.h"

#include <algorithm>
#include <array>

#include "base/process.h"
#include "base/sys.h"
#include "runtime/observe.h"
#include "vmm/jail.h"

namespace boxlite {
namespace {

// The first line of `qemu-system-x86_64 --version`, from the version number on.
Result<std::string> qemu_version(const std::string& qemu) {
  TRY_ASSIGN(sys::Pipe output, sys::pipe());
  TRY_ASSIGN(ChildProcess child,
             ChildProcess::spawn(
                 {.program = qemu, .argv = {qemu, "--version"}, .stdout_fd = output.write_end.get(), .die_with_parent = true}));
  output.write_end.reset();
  std::array<std::byte, 512> buffer = {};
  const auto count = sys::read_full(output.read_end.get(), buffer);
  output.read_end.reset();
  TRY(child.wait());
  if (!count) return std::unexpected(count.error());
  std::string text(reinterpret_cast<const char*>(buffer.data()), *count);
  text.resize(std::min(text.find('\n'), text.size()));
  const std::size_t version = text.find("version ");
  return version == std::string::npos ? text : text.substr(version + 8);
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
  TRY_ASSIGN(info.qemu_version, qemu_version(programs.vm.qemu));
  TRY_ASSIGN(const std::vector<BoxInfo> boxes, list_boxes(context.paths, context.database));
  info.boxes_total = boxes.size();
  info.boxes_running = static_cast<std::size_t>(std::ranges::count(boxes, BoxStatus::kRunning, &BoxInfo::status));
  TRY_ASSIGN(const std::vector<ImageInfo> images, context.database.images());
  info.images = images.size();
  return info;
}

}  // namespace boxlite

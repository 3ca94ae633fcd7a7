#include "vmm/qemu_command.h"

#include <fmt/core.h>

#include "vmm/jail.h"

namespace boxlite::vmm {
namespace {

constexpr std::size_t kFirstLayerSet = 3;

void add_disk(std::vector<std::string>& argv, const QemuDescriptors& fds) {
  // Each layer is its own node with driver and backing node spelled out: QEMU never looks into a file to guess what it is, and
  // what the qcow2 header says about a backing file is not used.
  argv.insert(argv.end(), {"-add-fd", fmt::format("fd={},set=1", fds.base_image)});
  argv.insert(argv.end(), {"-add-fd", fmt::format("fd={},set=2", fds.overlay)});
  argv.insert(argv.end(), {"-blockdev", "driver=file,node-name=base-file,filename=/dev/fdset/1,read-only=on"});
  argv.insert(argv.end(), {"-blockdev", "driver=raw,node-name=base,file=base-file,read-only=on"});
  std::string below = "base";
  for (std::size_t i = 0; i < fds.layers.size(); ++i) {
    const std::size_t set = kFirstLayerSet + i;
    argv.insert(argv.end(), {"-add-fd", fmt::format("fd={},set={}", fds.layers[i], set)});
    argv.insert(argv.end(),
                {"-blockdev", fmt::format("driver=file,node-name=layer{}-file,filename=/dev/fdset/{},read-only=on", i, set)});
    argv.insert(argv.end(), {"-blockdev", fmt::format("driver=qcow2,node-name=layer{},file=layer{}-file,backing={},read-only=on",
                                                      i, i, below)});
    below = fmt::format("layer{}", i);
  }
  argv.insert(argv.end(), {"-blockdev", "driver=file,node-name=disk-file,filename=/dev/fdset/2,discard=unmap"});
  argv.insert(argv.end(),
              {"-blockdev", fmt::format("driver=qcow2,node-name=disk,file=disk-file,backing={},discard=unmap", below)});
  argv.insert(argv.end(), {"-device", "virtio-blk-device,drive=disk"});
}

void add_memory_file(std::vector<std::string>& argv, const VmConfig& config) {
  argv.insert(argv.end(), {"-object", fmt::format("memory-backend-file,id=memory,mem-path={},size={}M,share={},dump=off",
                                                  kJailMemory, config.memory_mib, config.memory_file->shared ? "on" : "off")});
}

}  // namespace

std::string kernel_command_line(const VmConfig& config) {
  // reboot=t and panic=-1: a guest that panics or reboots triple-faults at once, which -no-reboot turns into the end of QEMU.
  std::string line = "console=ttyS0 quiet loglevel=3 reboot=t panic=-1";
  // The kernel has the driver for docker's sake, and would make a device of it at once.
  line += " dummy.numdummies=0";
  if (config.accelerator == Accelerator::kTcg) {
    // On a busy host the kernel's calibration of the TSC against the emulated PIT fails now and then and the guest hangs for ever
    // (7 of 12 boots were seen to). Given the host's frequency it does not calibrate. lpj: jiffies are 4 ms (HZ=250).
    line += fmt::format(" tsc_early_khz={} tsc=reliable lpj={}", config.tsc_khz, 4 * config.tsc_khz);
    // Mitigations in a translated guest cost time and guard nothing: the translated code does not speculate as they assume.
    line += " mitigations=off";
  }
  return line;
}

std::string cpu_model(Accelerator accelerator) {
  // A translated `rep movsb` is a loop over bytes: a kernel that is told of fast ones copies at a quarter of the speed (decision
  // 014). And rdrand is QEMU's own generator, which goes on the same in every process that is made of one image.
  return accelerator == Accelerator::kKvm ? "host" : "max,erms=off,rdrand=off,rdseed=off";
}

std::vector<std::string> resume_command(int sandbox, int lock, std::span<const int> channels) {
  std::vector<std::string> argv = {kJailVmResume, kJailProcessImage, kJailMemory, std::to_string(sandbox), std::to_string(lock)};
  for (const int fd : channels) argv.push_back(std::to_string(fd));
  return argv;
}

std::vector<std::string> qemu_command(const VmConfig& config, const std::string& qemu, const QemuDescriptors& fds) {
  const bool kvm = config.accelerator == Accelerator::kKvm;
  std::vector<std::string> argv = {qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"};
  argv.insert(argv.end(), {"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"});
  // QEMU grows to 64 threads when the disk is slow, and ends where one cannot be made.
  argv.insert(argv.end(), {"-object", fmt::format("main-loop,id=main,thread-pool-max={}", kDiskThreads)});
  argv.insert(argv.end(), {"-M", std::string("microvm,rtc=on,dump-guest-core=off,suppress-vmdesc=on") +
                                     (config.memory_file ? ",memory-backend=memory" : "")});
  argv.insert(argv.end(), {"-accel", kvm ? "kvm" : fmt::format("tcg,tb-size={}", kTranslationCacheMib)});
  argv.insert(argv.end(), {"-cpu", cpu_model(config.accelerator)});
  argv.insert(argv.end(), {"-smp", std::to_string(config.cpus), "-m", fmt::format("{}M", config.memory_mib)});
  if (config.memory_file) add_memory_file(argv, config);
  if (config.device_state.empty()) {
    argv.insert(argv.end(), {"-kernel", kJailKernel, "-initrd", kJailInitramfs, "-append", kernel_command_line(config)});
  } else {
    argv.insert(argv.end(), {"-incoming", "defer"});
    if (config.stand_still) argv.emplace_back("-S");
  }
  // The state of the devices is all that is saved of a VM (shim/device_state.h). It stands still then; restored, it is to run.
  argv.insert(argv.end(), {"-global", "migration.store-global-state=off", "-global", "migration.send-configuration=off"});

  argv.insert(argv.end(), {"-chardev", fmt::format("socket,id=qmp,fd={}", fds.qmp), "-mon", "chardev=qmp,mode=control"});
  argv.insert(argv.end(), {"-chardev", fmt::format("socket,id=console,fd={}", fds.console), "-serial", "chardev:console"});
  argv.insert(argv.end(), {"-device", "virtio-serial-device,max_ports=3"});
  argv.insert(argv.end(), {"-chardev", fmt::format("socket,id=portal,fd={}", fds.portal)});
  argv.insert(argv.end(), {"-device", "virtserialport,chardev=portal,name=boxlite.portal"});
  if (fds.volumes >= 0) {
    argv.insert(argv.end(), {"-chardev", fmt::format("socket,id=volumes,fd={}", fds.volumes)});
    argv.insert(argv.end(), {"-device", "virtserialport,chardev=volumes,name=boxlite.volumes"});
  }
  // From the kernel for each read, see cpu_model().
  argv.insert(argv.end(), {"-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-device,rng=random"});
  if (fds.nic.fd >= 0) {
    argv.insert(argv.end(), {"-netdev", fmt::format("dgram,id=net,local.type=fd,local.str={}", fds.nic.fd)});
    argv.insert(argv.end(),
                {"-device", fmt::format("virtio-net-device,netdev=net,mac={},host_mtu={}", fds.nic.mac, fds.nic.mtu)});
  }
  if (fds.base_image >= 0) add_disk(argv, fds);
  return argv;
}

}  // namespace boxlite::vmm

// QEMU's command line, and the guest kernel's: the one place that decides what the virtual machine consists of.
//
// A pure function of values, so every decision in it is a line of a unit test. What the VM touches it gets as an inherited
// descriptor or as a fixed path of the jail (jail.h): nothing here depends on where a home lies, and no guest-writable file is
// opened by name or probed for its format.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "vmm/vm_config.h"

namespace boxlite::vmm {

/// Descriptors that QEMU inherits under these numbers.
struct QemuDescriptors {
  int portal = -1;   // virtio-serial port
  int console = -1;  // ttyS0
  int qmp = -1;
  int base_image = -1;           // read-only; -1: no disk
  std::vector<int> layers = {};  // read-only
  int overlay = -1;              // read-write
  int volumes = -1;              // virtio-serial port of the volumes; -1: none
  Nic nic = {};
};

/// argv of QEMU, argv[0] included. `qemu` is its path inside the jail.
std::vector<std::string> qemu_command(const VmConfig& config, const std::string& qemu, const QemuDescriptors& fds);

/// What QEMU is told the guest's CPU is. A guest that goes on must find the same.
std::string cpu_model(Accelerator accelerator);

/// argv of boxlite-vm-resume (vm_resume.cc), which takes QEMU's place: descriptors of sandbox_filter(), of the lock (-1: none),
/// and the channels.
std::vector<std::string> resume_command(int sandbox, int lock, std::span<const int> channels);

/// The guest kernel's command line.
std::string kernel_command_line(const VmConfig& config);

}  // namespace boxlite::vmm

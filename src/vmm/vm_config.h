// What a virtual machine is made of, as values: the input of the function that builds QEMU's command line (qemu_command.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace boxlite::vmm {

enum class Accelerator { kTcg, kKvm };

/// "tcg", "kvm"
std::string to_string(Accelerator accelerator);

struct VmConfig {
  Accelerator accelerator = Accelerator::kTcg;
  unsigned cpus = 1;
  std::uint64_t memory_mib = 512;
  std::string kernel;         // vmlinux (PVH); a path on the host
  std::string initramfs;      // cpio holding the agent as /init; a path on the host
  std::string base_image;     // raw ext4, never written; a path on the host. "" : no disk (the accelerator proof)
  std::string overlay;        // qcow2 on top of base_image; a path on the host
  std::uint64_t tsc_khz = 0;  // the host's, for TCG (host_clock.h); ignored under KVM
  /// Started by root: the VM's processes run as this uid and gid, which nothing else uses. nullopt: as the caller.
  std::optional<std::uint32_t> uid;
};

}  // namespace boxlite::vmm

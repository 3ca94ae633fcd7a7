// What a virtual machine is made of, as values: the input of the function that builds QEMU's command line (qemu_command.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace boxlite::vmm {

/// QEMU may grow its cache of translated code up to this; its own default of 1 GiB could be twice the box's memory.
inline constexpr unsigned kTranslationCacheMib = 256;

/// Of QEMU's, for what waits for the disk.
inline constexpr unsigned kDiskThreads = 16;

enum class Accelerator { kTcg, kKvm };

/// "tcg", "kvm"
std::string to_string(Accelerator accelerator);

/// A network device whose Ethernet frames are the datagrams of a socket.
struct Nic {
  int fd = -1;  // QEMU's end of an AF_UNIX SOCK_DGRAM pair; -1: no device
  std::string mac;
  unsigned mtu = 0;  // of the frames' payload
};

/// Where the guest's memory is kept, when it is not anonymous memory.
struct MemoryFile {
  std::string path;  // a path on the host; its size is memory_mib MiB
  /// true: the guest's writes go into it (a template being made). false: it is read alone, by any number of VMs, and never
  /// written.
  bool shared = false;
};

struct VmConfig {
  Accelerator accelerator = Accelerator::kTcg;
  unsigned cpus = 1;
  std::uint64_t memory_mib = 512;
  std::string kernel;                    // vmlinux (PVH); a path on the host
  std::string initramfs;                 // cpio holding the agent as /init; a path on the host
  std::string base_image;                // raw ext4, never written; a path on the host. "" : no disk (the accelerator proof)
  std::vector<std::string> layers = {};  // qcow2, each on top of the one before and the first on base_image, never written; paths
  std::string overlay;                   // qcow2 on top of these; a path on the host
  std::uint64_t disk_bytes = 0;          // size of the disk that the guest sees
  std::optional<MemoryFile> memory_file;
  /// A path on the host: the VM goes on from this state of its devices, which belongs to memory_file (shim/device_state.h). "":
  /// it boots.
  std::string device_state;
  /// A path on the host: in the place of QEMU comes a process that is its image (process_image.h), which belongs to memory_file
  /// and to the disk; device_state is not used then. It waits for QMP's cont. "": QEMU is started.
  std::string process_image = {};
  bool stand_still = false;   // restored, it waits for QMP's cont
  std::uint64_t tsc_khz = 0;  // the host's, for TCG (host_clock.h); ignored under KVM
  /// Started by root: the VM's processes run as this uid and gid, which nothing else uses. nullopt: as the caller.
  std::optional<std::uint32_t> uid;
};

}  // namespace boxlite::vmm

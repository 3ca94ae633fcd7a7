// The jail around QEMU: bubblewrap's command line.
//
// Inside are the QEMU program, the libraries and firmware it was built with, the guest kernel and initramfs, a minimal /dev,
// and boxlite-vm-init as PID 1; or in the place of kernel and initramfs the memory of a template, and boxlite-vm-resume with the
// image of its QEMU: no /proc, no /sys, no network, no environment, no other file. Disks and channels are descriptors. Every
// namespace is the jail's own.
//
// Two ways, and which one is a field of the plan:
//  - with a user namespace: an ordinary user's way (and root's where CAP_SYS_ADMIN is missing). Files are opened as that user.
//  - without, for real root with a uid of its own for the box: bwrap keeps the capabilities to bind any path whatever its
//    parents' modes; PID 1 keeps only what it needs to start QEMU as that uid, then has none.
// A pure function of the plan; find_host_folders() and jail_plan() look at the host.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vmm/vm.h"
#include "vmm/vm_cgroup.h"
#include "vmm/vm_config.h"

namespace boxlite::vmm {

inline constexpr const char* kJailKernel = "/boxlite/vmlinux";
inline constexpr const char* kJailInitramfs = "/boxlite/initramfs";
inline constexpr const char* kJailVmInit = "/boxlite/vm-init";
inline constexpr const char* kJailMemory = "/boxlite/memory";
inline constexpr const char* kJailVmResume = "/boxlite/vm-resume";
inline constexpr const char* kJailProcessImage = "/boxlite/process-image";
inline constexpr const char* kJailMemoryGuard = "/boxlite/memory-guard.so";

/// What the host offers of the folders QEMU needs. Whole folders, since fifty single binds cost 15 ms (one: 2 ms).
struct HostFolders {
  std::vector<std::string> binds;                             // folders, bound read-only at the same path
  std::vector<std::pair<std::string, std::string>> symlinks;  // link → target, as on the host
};

/// Libraries and firmware for `qemu`, in the layouts of Debian, Ubuntu, Fedora and Arch. `root` is put before every path that is
/// looked at.
HostFolders find_host_folders(const std::string& qemu, const std::string& root = "");

struct JailPlan {
  bool user_namespace = true;
  std::optional<std::uint32_t> uid;        // only without a user namespace: what QEMU runs as (and the gid of the same number)
  std::optional<std::uint32_t> kvm_group;  // with uid: the group that may open /dev/kvm
  bool kvm = false;                        // bind /dev/kvm
  HostFolders folders;
  int lifeline_fd = -1;  // read end
  int launcher_fd = -1;  // pidfd of this process
  int lock_fd = -1;      // the VM's lock, kept open by every process of the VM; -1: none
  int filter_fd = -1;    // vm_filter.h
  /// Before Linux 5.14 a user's processes are counted together, inside and outside of the jail: then there is no limit.
  bool limit_processes = true;
};

/// What QEMU may take of the host at most (setrlimit(2)), beyond what it uses: bounds for one that is not QEMU any more.
struct VmLimits {
  std::uint64_t data_bytes = 0;  // of memory of its own
  std::uint64_t file_bytes = 0;  // of each file
  unsigned processes = 0;        // and threads, of the box's uid or in its user namespace
};
VmLimits vm_limits(const VmConfig& config);

/// What all processes of the box may take together, its network process and the servers of its volumes included.
CgroupLimits cgroup_limits(const VmConfig& config, std::size_t volumes);

/// The plan for this host, this user and this VM.
JailPlan jail_plan(const VmConfig& config, const VmPrograms& programs);

/// argv of bwrap, argv[0] included, running `qemu_argv` under boxlite-vm-init.
std::vector<std::string> jail_command(const JailPlan& plan, const VmConfig& config, const VmPrograms& programs,
                                      const std::vector<std::string>& qemu_argv);

/// Whether this process may make mounts as it is: real root, not root of a container.
bool has_sys_admin();

/// One line for `boxlite info`: what the jail consists of here, and what this host does not offer.
std::string describe_isolation(Accelerator accelerator);

}  // namespace boxlite::vmm

// One running virtual machine: QEMU in its jail, and this process's ends of its socket pairs.
//
//   this process ─▶ bwrap (monitor) ─▶ boxlite-vm-init (PID 1 of the jail) ─▶ qemu-system-x86_64, or boxlite-vm-resume,
//                                                                             which becomes one (process_image.h)
//
// It ends when this process does, by two mechanisms: the lifeline, a pipe whose write end only this process holds, and a pidfd of
// this process. boxlite-vm-init watches both, and with PID 1 goes the whole PID namespace. There is no parent-death signal on
// bwrap: docs/decisions/002-no-death-signal-for-bwrap.md.
//
// The command line, the jail's command line and what each file descriptor is: qemu_command.cc, jail.cc.
// Not thread safe. Destroying a Vm kills it and reaps the jail.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/process.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "vmm/process_image.h"
#include "vmm/vm_config.h"

namespace boxlite::vmm {

/// Programs and guest files a VM needs, found once (paths.h of the runtime says where).
struct VmPrograms {
  std::string qemu;                // /usr/bin/qemu-system-x86_64
  std::string bwrap;               // /usr/bin/bwrap
  std::string vm_init;             // boxlite-vm-init, static
  std::string volume_server = {};  // boxlite-volume, static
  std::string memory_guard = {};   // boxlite-memory-guard.so, for a VM whose memory_file is not shared
  std::string vm_resume = {};      // boxlite-vm-resume, static, for a VM with a process_image
};

/// Finds qemu and bwrap in PATH. kNotFound names the package to install.
Result<VmPrograms> find_vm_programs(const std::string& vm_init);

class Vm {
 public:
  /// Starts the VM and returns at once; nothing has booted yet. `vm_lock_fd`: a locked descriptor (locks/<id>.vm) that every
  /// process of the VM inherits, so the lock is held exactly as long as one of them lives; -1: none.
  /// `nic`: its descriptor is inherited by QEMU, and the caller's to close after this.
  /// `cgroup`: as of ProcessSpec.
  static Result<Vm> launch(const VmConfig& config, const VmPrograms& programs, int vm_lock_fd, const Nic& nic = {},
                           int cgroup = -1);

  Vm(Vm&&) noexcept = default;
  Vm& operator=(Vm&&) = delete;
  ~Vm();

  /// Our ends; non-blocking; end-of-file when QEMU is gone.
  int portal_fd() const { return portal_.get(); }    // virtio-serial port "boxlite.portal"
  int volumes_fd() const { return volumes_.get(); }  // virtio-serial port "boxlite.volumes"
  int console_fd() const { return console_.get(); }  // the guest's ttyS0
  int qmp_fd() const { return qmp_.get(); }          // qmp.h
  /// The number under which QEMU has config.device_state open; -1: it has none. It waits to be told (shim/device_state.h).
  int device_state_fd() const { return device_state_fd_; }
  /// The numbers that QEMU has of its channels, in the order of Channel (process_image.h); -1: none.
  const std::array<int, static_cast<std::size_t>(Channel::kCount)>& channels() const { return channels_; }
  int stderr_fd() const { return stderr_.get(); }  // what QEMU and bwrap complain about

  /// Readable when the jail (and with it QEMU) has ended.
  int pidfd() const { return jail_->pidfd(); }
  pid_t pid() const { return jail_->pid(); }
  /// Kills every process of the VM; it is over when pidfd() is readable.
  void kill();
  /// For a jail that kill() does not end because its processes have been stopped (SIGSTOP): kills bwrap, and with it PID 1 of the
  /// jail. Not before kill() has had its time: a bwrap that dies at its start leaves a child behind
  /// (docs/decisions/002-no-death-signal-for-bwrap.md).
  void kill_jail();
  /// Reaps the jail after pidfd() became readable. 128 + signal when QEMU was killed.
  Result<ExitStatus> wait();

  /// CPU time of the VM's own processes so far, in milliseconds: how a hung boot (burning CPU) is told from a busy host.
  Result<std::uint64_t> cpu_time_ms() const;

 private:
  Vm() = default;
  UniqueFd portal_;
  UniqueFd volumes_;
  UniqueFd console_;
  UniqueFd qmp_;
  UniqueFd stderr_;
  UniqueFd lifeline_;
  int device_state_fd_ = -1;
  std::array<int, static_cast<std::size_t>(Channel::kCount)> channels_ = {};
  std::unique_ptr<ChildProcess> jail_;
  std::optional<ExitStatus> status_;  // once reaped
};

}  // namespace boxlite::vmm

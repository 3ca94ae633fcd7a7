// The server of one volume, boxlite-volume (src/volume), in a jail of its own.
//
//   this process ─▶ bwrap (monitor) ─▶ boxlite-volume (PID 1 of the jail)
//
// In the jail are the program and the volume, bound read-only when the volume is: whatever the guest says to the server, the
// host's kernel refuses the write. No other file, no /proc, no /dev, no network; no device node or set-id program of the volume
// works there. The server gives up all system calls but those it serves files with (volume/confinement.h). It ends when this
// process does, by its connection's end and by a pidfd, and holds the VM's lock until then.
//
// For real root the server keeps what it needs to give files away and to pass over permissions, which are the guest's to check:
// CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID. Anybody else's server runs in a user namespace, without any.
// Not thread safe. Destroying it ends the server and reaps the jail.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/process.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "vmm/vm.h"

namespace boxlite::vmm {

struct VolumeShare {
  std::string source;  // an absolute path without symbolic links: a directory, or one file
  bool file = false;   // the server's root then is a directory with this file, kVolumeFile
  bool read_only = false;
  std::string hidden;  // "": nothing. A directory below source, relative to it: an empty one is seen in its place
};

inline constexpr const char* kVolumeFile = "file";

class VolumeServer {
 public:
  /// `lock_fd`, `cgroup`: as of Vm::launch. The server complains to this process's stderr.
  static Result<VolumeServer> launch(const VolumeShare& share, const VmPrograms& programs, int lock_fd, int cgroup);

  VolumeServer(VolumeServer&&) noexcept = default;
  VolumeServer& operator=(VolumeServer&&) = delete;
  ~VolumeServer();

  /// Our end; non-blocking. Once: the caller closes it.
  UniqueFd take_connection() { return std::move(connection_); }
  /// Readable when the server has ended.
  int pidfd() const { return jail_->pidfd(); }
  /// Reaps it after that.
  Result<ExitStatus> wait();

 private:
  VolumeServer() = default;
  UniqueFd connection_;
  std::unique_ptr<ChildProcess> jail_;
  bool reaped_ = false;
};

/// argv of bwrap. `real_root`: without a user namespace.
std::vector<std::string> volume_jail_command(const VolumeShare& share, const VmPrograms& programs, bool real_root,
                                             const std::vector<int>& descriptors);

}  // namespace boxlite::vmm

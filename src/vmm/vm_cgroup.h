// The cgroup of a box's processes on the host, of version 2 (cgroups(7); Documentation/admin-guide/cgroup-v2.rst of the kernel):
// their memory and their number are bounded together, in whatever namespaces and under whatever uid they run, and the kernel that
// ends one of them for lack of memory ends all.
//
//   PLACE               a cgroup of somebody else's that hands memory and pids down, and below which this user may move processes
//   PLACE/boxlite       ours, handing both down; it stays
//   PLACE/boxlite/NAME  a running box
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::vmm {

/// The highest cgroup, from that of this process upwards, that can be the PLACE: its directory. kUnsupported: there is none, and
/// why. `root` is put before every path that is looked at.
Result<std::string> find_cgroup_place(const std::string& root = "");

/// Of all processes of a box together.
struct CgroupLimits {
  std::uint64_t memory_bytes = 0;
  unsigned processes = 0;  // and threads
};

/// Removes a cgroup; one that is not there is no error. Its last processes are ending: kUnavailable when `patience` was not
/// enough.
Result<void> remove_cgroup(const std::string& path, std::chrono::milliseconds patience);

/// SIGKILL to every process in it, where the kernel can do that (Linux 5.14).
Result<void> kill_cgroup(const std::string& path);

class VmCgroup {
 public:
  /// `path`: PLACE/boxlite/NAME. One that is left over is replaced.
  static Result<std::unique_ptr<VmCgroup>> create(const std::string& path, const CgroupLimits& limits);
  VmCgroup(const VmCgroup&) = delete;
  VmCgroup& operator=(const VmCgroup&) = delete;

  /// Removes it. Its processes have ended, or are about to.
  ~VmCgroup();

  const std::string& path() const { return path_; }
  /// For ProcessSpec::cgroup.
  Result<UniqueFd> open() const;

  /// What the kernel says about it (memory.events).
  struct OutOfMemory {
    bool killed = false;     // its processes were ended, whoever lacked memory
    bool own_limit = false;  // its own was reached, and nothing could be had back
  };
  OutOfMemory out_of_memory() const;

 private:
  explicit VmCgroup(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace boxlite::vmm

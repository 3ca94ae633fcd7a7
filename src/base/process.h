// Child processes by pidfd, and the identity of any process: a pid alone names nobody, since pids are used again.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite {

/// The kernel's random id of this boot (/proc/sys/kernel/random/boot_id).
Result<std::string> boot_id();

/// Inode of this process's PID namespace: a pid means something only inside it.
Result<std::uint64_t> pid_namespace();

/// Field 22 of /proc/<pid>/stat: start time in clock ticks since boot. kNotFound when there is no such process.
Result<std::uint64_t> process_start_time(pid_t pid);

/// A pidfd for `pid`, only if that process started at `start_time`. kNotFound when it is gone or another has its pid.
/// The descriptor is opened before the check, so what it names is what was checked.
Result<UniqueFd> open_process(pid_t pid, std::uint64_t start_time);

/// Sends a signal through a pidfd. A process that is already gone is no error.
Result<void> signal_process(int pidfd, int signal);

/// True once the process behind the pidfd has ended; waits at most `timeout`.
Result<bool> wait_process_end(int pidfd, std::optional<std::chrono::milliseconds> timeout);

/// How a child ended.
struct ExitStatus {
  int code = 0;    // exit code; 128 + signal when a signal ended it
  int signal = 0;  // 0: it exited by itself
};

/// What to run. Nothing is inherited unless it is named here: descriptors other than 0–2 and `inherit` are closed,
/// the environment is exactly `environment`, signal mask and handlers are the default ones.
struct ProcessSpec {
  std::string program;                 // absolute path
  std::vector<std::string> argv = {};  // argv[0] included
  std::vector<std::string> environment = {};
  int stdin_fd = -1;  // -1: /dev/null
  int stdout_fd = -1;
  int stderr_fd = -1;
  std::vector<int> inherit = {};  // kept open under the same number
  int cgroup = -1;                // the directory of the cgroup (version 2) that it begins in; -1: the caller's
  bool die_with_parent = false;   // SIGKILL when the *thread* that spawned it ends (PR_SET_PDEATHSIG)
  bool new_session = false;
};

/// A child of this process. Destroying it neither kills nor waits: say which with kill() or wait().
class ChildProcess {
 public:
  /// Fails with kNotFound or kPermissionDenied if the program cannot be executed.
  static Result<ChildProcess> spawn(const ProcessSpec& spec);

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }

  Result<void> kill(int signal) const { return signal_process(pidfd_.get(), signal); }
  /// Reaps the child; blocks until it ends.
  Result<ExitStatus> wait();
  /// Reaps it if it has ended.
  Result<std::optional<ExitStatus>> try_wait();

 private:
  ChildProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_;
  UniqueFd pidfd_;
};

/// The full path of `program` in the directories of PATH (a fixed default when PATH is unset). kNotFound if it is in none.
Result<std::string> find_program(const std::string& program);

}  // namespace boxlite

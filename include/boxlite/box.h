// One box: a machine of its own with a root disk and a main command. A Box is a name for it, not its owner: it may be removed by
// another process at any time, and every call then returns kNotFound. Thread safe.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "boxlite/box_info.h"
#include "boxlite/error.h"
#include "boxlite/execution.h"

namespace boxlite {

/// Something that a start has come to.
struct StartStep {
  std::string what;
  std::chrono::steady_clock::time_point at;
};

struct StartOptions {
  Ownership ownership = Ownership::kDetached;
  /// The main command waits until this call has attached to it, so that none of its output is missed.
  bool attach = false;
  /// A box that is suspended boots with its disk as it is, and its memory is lost.
  bool discard_memory = false;
  unsigned rows = 0;  // of the terminal, when the box has one
  unsigned columns = 0;
  /// Called for each step, in their order, before start() returns: where the time goes. Those of the box's own process come at
  /// the end, all at once.
  std::function<void(const StartStep&)> on_step = {};
};

/// What is kept of a box at one moment, under a name of its own.
struct SnapshotInfo {
  std::string name;
  std::string created_at;   // RFC 3339, UTC
  bool memory = false;      // of the running machine too, not of its disk alone
  std::uint64_t bytes = 0;  // on the host's disk; what it shares with others counts
};

struct ForkOptions {
  std::string name;    // "": made up. With a count of more: NAME-1, NAME-2, …
  unsigned count = 1;  // at most 1000
};

struct ExecOptions {
  std::vector<std::string> command;
  std::vector<std::string> env;  // added to the box's
  std::string working_dir;       // "": the box's
  std::string user;              // "": the box's
  bool tty = false;
  bool open_stdin = false;
  unsigned rows = 0;
  unsigned columns = 0;
  /// After that every process of the command gets SIGTERM, also one that has detached itself, and what is left two seconds later
  /// SIGKILL; the exit code is 124. Kept in the box: it holds when this process is gone. 0: no limit.
  std::chrono::milliseconds timeout{0};
};

/// The main command's session.
inline constexpr const char* kMainSession = "main";

struct AttachOptions {
  std::string session_id = kMainSession;  // or an Execution's
  /// Where to begin: OutputChunk's offset + size of the last piece that was seen. When that is kept no more, at the oldest byte
  /// that is: the box keeps the last 256 KiB of each stream, and more only while somebody reads.
  std::uint64_t stdout_offset = 0;
  std::uint64_t stderr_offset = 0;
  bool input = true;  // false: this view sends none
};

struct LogOptions {
  bool follow = false;              // go on until the box ends
  std::optional<std::size_t> tail;  // only so many last lines of what is kept
  std::string since;                // only records of this time or later, as LogRecord::time is written; "": all
  std::string until;                // the same: or earlier
};

struct CopyOptions {
  /// Owners, set-uid and set-gid bits and extended attributes are kept, and on the host, for root, device nodes. Else what
  /// arrives in a box belongs to root and what arrives here to the caller.
  bool archive = false;
  /// When the source itself is a symbolic link: what it leads to is copied. Other links never are followed.
  bool follow_link = false;
  /// A descriptor that becomes readable when the copy shall end (kUnavailable), with no incomplete file left; -1: none.
  int interrupt_fd = -1;
};

struct LogRecord {
  std::string time;  // RFC 3339, UTC
  OutputStream stream = OutputStream::kStdout;
  std::string data;  // one line with its newline, or a part of one without
};

/// A process in a box.
struct BoxProcess {
  std::string user;  // a name of the image's passwd, or a number
  pid_t pid = 0;     // in the box's own pid namespace
  pid_t parent = 0;  // 0: outside of the box
  std::chrono::sys_time<std::chrono::nanoseconds> started;
  std::string terminal;  // "pts/0", or none
  std::chrono::nanoseconds cpu_time{0};
  std::string command;  // its arguments joined by blanks, or "[name]"; printable, and cut when it is long
};

/// What a running box has used so far. The guest's numbers are the guest's word.
struct BoxUsage {
  std::uint64_t guest_time_ns = 0;  // the guest's monotonic clock when they were taken
  std::uint64_t cpu_ns = 0;
  std::uint64_t memory_bytes = 0;  // without inactive page cache
  std::uint64_t memory_limit_bytes = 0;
  std::uint64_t processes = 0;  // and threads
  std::uint64_t block_read_bytes = 0;
  std::uint64_t block_write_bytes = 0;

  std::uint64_t host_time_ns = 0;       // the host's monotonic clock when these were taken
  std::uint64_t host_cpu_ns = 0;        // of the host's processes that are the box: QEMU, its jail and the shim
  std::uint64_t host_memory_bytes = 0;  // private to them

  std::optional<NetworkUsage> network;  // none: the box has no network
};

class Box {
 public:
  class Impl;
  explicit Box(std::shared_ptr<Impl> impl);

  const std::string& id() const;
  /// As it was when this object was made.
  const std::string& name() const;

  Result<BoxInfo> info() const;

  /// Boots the box and runs its main command; returns when that runs. A box that runs already is left alone.
  /// The Execution is there exactly when options.attach is set and this call did the start.
  Result<std::optional<Execution>> start(const StartOptions& options);

  /// Stop signal, `grace` (nullopt: the box's own), SIGKILL, clean power-off with synced disks. Returns when it is over. A box
  /// that does not run is no error.
  Result<void> stop(std::optional<std::chrono::seconds> grace);

  /// A stop and a start; a box that removes itself is kept this once. One that does not run is started.
  Result<void> restart(std::optional<std::chrono::seconds> grace);

  /// Works on running boxes too. kAlreadyExists, naming the other box, when the name is taken.
  Result<void> rename(const std::string& name);

  /// Sends a signal to the main command; after SIGKILL, returns when the box has ended and can be removed or started.
  /// kInvalidState when the box does not run.
  Result<void> kill(int signal);

  /// The whole machine stands still: it uses no CPU, and answers nothing. Calls that need an answer are refused meanwhile;
  /// stop(), kill(SIGKILL) and remove() let it go on for its end. kInvalidState: it does not run, is paused already, or is not
  /// paused.
  Result<void> pause();
  /// Goes on where it stood; its clock is set to the host's.
  Result<void> unpause();

  /// The running machine is written to the disk and ends; start() goes on where it stood, also after a reboot of the host.
  /// Commands of exec that run in it go on too, without whoever had attached. kUnsupported: a box with volumes.
  Result<void> pause_to_disk();

  /// Keeps the disk as it is, of a running box as after fsfreeze(8), and with `memory` the running machine too. The box goes on.
  /// kAlreadyExists: there is one of that name.
  Result<void> create_snapshot(const std::string& name, bool memory = false);
  /// The oldest first.
  Result<std::vector<SnapshotInfo>> snapshots() const;
  Result<void> remove_snapshot(const std::string& name);
  /// The box, which must not run (kInvalidState), becomes what it was: stopped, or with memory suspended. What it is now is lost,
  /// its snapshots stay.
  Result<void> restore_snapshot(const std::string& name);

  /// Writes the box to a descriptor, which may be a pipe: its disk as it is, of a running box as after fsfreeze(8), and with
  /// `memory` the running machine too. `name` is what messages call it. What the box has of its host is not in it: the values of
  /// its environment, published ports, volumes. Format: docs/formats/box-archive.md.
  Result<void> export_archive(int fd, const std::string& name, bool memory = false);

  /// New boxes that go on from the running one's memory and disk of this moment, each by itself: connections are broken in them,
  /// ports of the host that lead into this one get others, random numbers, host name and machine id differ. Returns when they
  /// run. kUnsupported: a box with volumes.
  Result<std::vector<Box>> fork(const ForkOptions& options = {});

  /// Waits until the box does not run, without polling; its exit code (0 for a box that never ran).
  Result<int> wait();

  /// Removes the box and everything it uses. A running box is refused unless `force`, which kills it.
  /// `volumes`: the box's anonymous volumes with it.
  Result<void> remove(bool force, bool volumes = false);

  Result<Execution> exec(const ExecOptions& options);

  // Files, in the container's own view, so that /tmp and every other mount is what a command in the box sees. The box must run
  // (kInvalidState). Paths in the box are absolute or relative to "/". Where a copy lands are docker's rules for `cp`:
  // src/files/landing.h. A file appears under its name when it is whole. What comes out of a box cannot be written outside of the
  // destination.

  Result<void> copy_out(const std::string& box_path, const std::string& host_path, const CopyOptions& options);
  Result<void> copy_in(const std::string& host_path, const std::string& box_path, const CopyOptions& options);
  /// The same as a tar stream that is written to `fd`. Not interruptible.
  Result<void> copy_out_tar(const std::string& box_path, int fd, bool follow_link);
  /// Makes the entries of an uncompressed tar stream in a directory of the box.
  Result<void> copy_in_tar(int fd, const std::string& box_path, bool archive);

  /// A view of a command, which may have others. The exit of a command that has ended can still be read: of the last 128 execs
  /// while the box runs. kNotFound: there is no such session.
  Result<Execution> attach(const AttachOptions& options = {});

  /// Calls `sink` with the kept records of the main command's output. `sink` returns false to end early. Works on stopped boxes.
  Result<void> logs(const LogOptions& options, const std::function<bool(const LogRecord&)>& sink) const;

  /// A connection to a TCP port of the box's own loopback, also of a box without a network: what is written to stdin is sent,
  /// stdout is what is received, and closing stdin ends the sending. When the other side ends its sending the session ends.
  /// kUnavailable: nobody listens there. kInvalidState: it does not run.
  Result<Execution> tunnel(std::uint16_t port);

  /// The processes of a running box, by pid. kInvalidState when it does not run.
  Result<std::vector<BoxProcess>> processes() const;

  /// kInvalidState when it does not run; kUnavailable when it does not answer within two seconds.
  Result<BoxUsage> usage() const;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace boxlite

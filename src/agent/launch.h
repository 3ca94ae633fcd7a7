// Makes processes in the container. The child reports through a pipe that execve closes:
//
//   'P' pid (4 bytes)          its pid inside the container
//   'B'                        main only: what is the same for every box is built, and it waits for its plan
//   'R'                        main only: the container is built, and waits for go
//   'E' code (1 byte) message  it failed; the rest of the stream is the message
//   end of stream              after 'E': it is gone. Else: it has become the command
//
// The main command is cloned into new pid, mount, uts and ipc namespaces and makes its own cgroup namespace; later commands join
// all of them. Each is a direct child of the agent, which reaps it: the agent's pid namespace *for children* is the container's
// from the moment that exists, so no process in between is needed.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>

#include "agent/copy.h"
#include "agent/event_loop.h"
#include "agent/options.h"
#include "agent/session.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::agent {

struct Launched {
  pid_t pid = 0;  // as the agent sees it
  UniqueFd pidfd;
  UniqueFd report;  // read end of the pipe above
  UniqueFd plan;    // main only: a socket, for send_plan(); after 'R' one byte lets it become the command
};

/// Clones the container's first process, which builds what it can without a plan and waits for it. `pty_mount`: a detached
/// devpts.
Result<Launched> launch_container(bool privileged, int pty_mount);

/// Tells the container's first process what the container is to be: the host's call as it came, the descriptors of the main
/// command's session and the connections of the volumes. These are the child's then.
Result<void> send_plan(int plan, const proto::Configure& configure, const Session& session,
                       const std::vector<VolumeMount>& volumes);

/// Makes the container whose first process this is the pid namespace of all children to come.
Result<void> adopt_pid_namespace(int main_pidfd);

/// Starts a command in the container of `main_pidfd`, in the session's own cgroup.
Result<Launched> launch_command(const ContainerOptions& options, const Command& command, const Session& session, int main_pidfd);

/// Starts a copy in the container of `main_pidfd`, with root's rights there.
Result<Launched> launch_copy(const CopyJob& job, const Session& session, int main_pidfd);

/// Starts a relay between the session and a TCP port of the container's loopback. A refused connection is the child's report.
Result<Launched> launch_tunnel(std::uint16_t port, const Session& session, int main_pidfd);

/// Reads one child's report as it comes.
class ReportReader {
 public:
  struct Handler {
    std::function<void()> on_built = {};  // 'B'
    std::function<void()> on_ready = {};  // 'R'
    /// The end: the command runs, or the reason why not.
    std::function<void(Result<void>)> on_end = {};
  };
  ReportReader(EventLoop& loop, UniqueFd pipe, Handler handler);
  ReportReader(const ReportReader&) = delete;
  ReportReader& operator=(const ReportReader&) = delete;
  ~ReportReader();
  Result<void> start();
  void on_built(std::function<void()> handler) { handler_.on_built = std::move(handler); }
  void on_ready(std::function<void()> handler) { handler_.on_ready = std::move(handler); }
  void on_end(std::function<void(Result<void>)> handler) { handler_.on_end = std::move(handler); }
  /// 0 until reported.
  pid_t pid_in_container() const { return pid_; }

 private:
  void on_event();
  void parse();

  EventLoop& loop_;
  UniqueFd pipe_;
  Handler handler_;
  std::string buffer_;
  pid_t pid_ = 0;
  bool failed_ = false;
};

}  // namespace boxlite::agent

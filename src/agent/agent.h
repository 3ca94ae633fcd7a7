// The agent itself: answers calls, owns the container and its sessions, and decides when the VM ends.
//
// Theory of operation.
//
//  - Life of a box: fresh (→ built, in a template: the container is built as far as it is every box's) → configuring → prepared
//  (the container is built, its first process waits) → running → ending. Calls
//    that do not fit the state are refused with invalid_state.
//  - Nothing waits in a handler for a process of the container: starts are answered when the child's report ends (launch.h), so a
//    container that hangs its own execs hangs nothing else.
//  - A command that has run out of time gets SIGTERM and kGraceAfterTimeout later SIGKILL, with all of its cgroup: what has left
//    its process group or session is reached, too. The limit is kept here, so it holds when the client is gone.
//  - A checkpoint is taken with the container's processes frozen. What comes of it finds this agent in the same state, and its
//  first
//    call there is Adopt instead of Configure.
//  - The end. Main's death kills the container: the kernel kills its pid namespace, and each session ends through the same
//  SIGCHLD.
//    Then the agent waits until every stream has been read to its end or closed by the host (all_sent() plus a short grace for a
//    host that never closes), makes the disk read-only and ends the VM. Shutdown is the same without waiting for readers.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent.pb.h"
#include "agent/call_server.h"
#include "agent/event_loop.h"
#include "agent/freezer.h"
#include "agent/launch.h"
#include "agent/options.h"
#include "agent/rehearsal.h"
#include "agent/session.h"

namespace boxlite::agent {

class Agent {
 public:
  Agent(EventLoop& loop, UniqueFd port, UniqueFd child_signals);

  /// Returns when the VM shall be powered off: every process of the container is gone and the disk is sealed.
  Result<void> run();

 private:
  using Caller = CallServer::Caller;
  using SessionPtr = std::shared_ptr<Session>;
  enum class State { kFresh, kConfiguring, kPrepared, kStarting, kRunning, kEnded };
  enum class Ending { kNo, kAfterReaders, kAtOnce };

  void handle(const Caller& caller, const proto::Call& call);
  Result<void> prepare(const Caller& caller, const proto::Prepare& call);
  Result<void> lay_ground(std::uint64_t disk_bytes);
  Result<void> make_cgroup(bool privileged);
  Result<void> build_container(bool privileged);
  Result<void> configure(const Caller& caller, const proto::Configure& call);
  Result<void> start_main(const Caller& caller);
  Result<void> exec(const Caller& caller, const proto::Exec& call);
  Result<void> copy(const Caller& caller, const CopyJob& job);
  Result<void> tunnel(const Caller& caller, const proto::Tunnel& call);
  Result<void> begin_session(const Caller& caller, const SessionPtr& session, Launched launched,
                             std::chrono::milliseconds timeout);
  Result<void> attach(const Caller& caller, const proto::Attach& call);
  Result<void> signal(const proto::Signal& call);
  Result<void> resize(const proto::Resize& call);
  Result<void> freeze(const Caller& caller, const proto::Freeze& call);
  Result<void> adopt(const proto::Adopt& call);
  Result<void> tell_processes(const Caller& caller);
  Result<void> tell_usage(const Caller& caller);
  void shut_down();

  Result<SessionPtr> make_session(std::string id, const Command& command);
  Result<SessionPtr> find_session(const std::string& id) const;
  Result<void> signal_all(const Session& session, int signal);
  void limit_time(const SessionPtr& session, std::chrono::milliseconds timeout);
  void time_is_up(const SessionPtr& session);
  void reap();
  void process_ended(pid_t pid, ExitStatus status);
  void keep_ended(const SessionPtr& session);
  bool time_to_power_off();

  EventLoop& loop_;
  UniqueFd child_signals_;
  State state_ = State::kFresh;
  Ending ending_ = Ending::kNo;
  bool deadline_passed_ = false;
  std::optional<EventLoop::TimerId> grace_;
  std::optional<EventLoop::TimerId> unmounting_;

  ContainerOptions options_;
  Command main_command_;
  UniqueFd pty_mount_;
  /// Mounts and System V IPC of the container, so that they are not taken down before its end has been told.
  std::vector<UniqueFd> kept_namespaces_;
  /// The container's first process from when it is built until Configure, which makes it the main command's.
  struct Built {
    bool privileged = false;
    Launched container;
    std::unique_ptr<ReportReader> reader;
  };
  std::unique_ptr<Rehearsal> rehearsal_;
  std::optional<Built> built_;
  UniqueFd go_;
  Freezer freezer_;
  pid_t volume_pump_ = 0;  // while it runs
  bool disk_mounted_ = false;
  std::uint64_t oom_kills_ = 0;

  CallServer calls_;
  SessionPtr main_;
  std::map<std::string, SessionPtr> sessions_;  // by id, ended ones too
  std::deque<std::string> ended_;               // oldest first
  std::map<pid_t, SessionPtr> running_;         // by pid as the agent sees it
  std::map<const Session*, std::unique_ptr<ReportReader>> starting_;
  struct TimeLimit {
    EventLoop::TimerId timer;
    bool passed = false;  // then the timer is that of SIGKILL
  };
  std::map<const Session*, TimeLimit> limits_;
  std::vector<std::string> old_cgroups_;  // of sessions that ended and left processes behind
};

}  // namespace boxlite::agent

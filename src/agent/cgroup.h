// The cgroups of the guest. The agent stays in the root; the container is c1 and its processes are in the leaf c1/init:
//
//   /            the agent; every controller handed down
//   /c1          the container: root of its cgroup namespace, no process of its own, every controller handed down
//   /c1/init     every process of the container that has not made itself another
//   /c1/init/ID  a command of exec and all its descendants, however they have detached themselves from it
//
// The cgroups of commands are below init, which hands nothing down: they count and limit nothing of their own and may stand
// beside processes. They are for reaching a whole command with a signal.
// Otherwise c1 could not hand controllers down (a cgroup with processes may not), a docker inside would turn c1 into a threaded
// domain, and its containers would have no limits.
#pragma once

#include <cstdint>
#include <string>

#include "agent.pb.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::agent {

/// Mounts cgroup2 on /sys/fs/cgroup and hands every controller down from the root.
Result<void> mount_root_cgroup();

/// Makes c1 and c1/init.
Result<void> create_container_cgroup();

/// Removes them; no process may be in them.
Result<void> remove_container_cgroup();

/// The directories, for CLONE_INTO_CGROUP.
Result<UniqueFd> open_container_cgroup();
Result<UniqueFd> open_init_cgroup();

/// Makes the cgroup of a session of exec.
Result<UniqueFd> create_session_cgroup(const std::string& id);

/// To every process of the session; SIGKILL also to those in cgroups that it has made below its own.
Result<void> signal_session_cgroup(const std::string& id, int signal);

/// False while processes, or cgroups that they made, are left in it.
bool remove_session_cgroup(const std::string& id);

/// In the container's first process, which was cloned into c1: makes c1 the root of a new cgroup namespace, moves to c1/init and
/// hands the controllers of c1 down.
Result<void> enter_container_cgroup();

/// SIGKILL to every process of the container, also those it has put into cgroups of their own.
Result<void> kill_container_cgroup();

/// Every process of the container stops where it is, or goes on. It takes a moment: container_is_frozen() of
/// open_container_events(), which reports EPOLLPRI at each change.
Result<void> freeze_container(bool frozen);
Result<UniqueFd> open_container_events();
bool container_is_frozen(int events);
/// Some process is in it.
bool container_is_populated(int events);

/// How many processes of the container the kernel has killed for memory so far.
std::uint64_t oom_kills();

/// What the container has used since it was made.
Result<proto::Usage> container_usage();

}  // namespace boxlite::agent

// The last steps of a process that becomes a command in the container: identity, terminal, working directory, privileges, execve.
#pragma once

#include <string>

#include "agent/options.h"
#include "base/result.h"

namespace boxlite::agent {

struct ExecPlan {
  const Command& command;
  const ContainerOptions& container;
  bool below_init = false;  // this process stays behind as the init, and a child becomes the command
};

/// Called with "/" being the container's root, 0, 1, 2 the command's and every other descriptor close-on-exec or closed. Returns
/// only when it failed: kCommandNotFound, kCommandNotExecutable in docker's words, kInvalidArgument for an unknown user, …
Error become_command(const ExecPlan& plan);

/// For a child that stays the agent's own program and handles the container's files: signals, session, and of root's rights those
/// over files, whatever the container's commands have.
Result<void> become_file_helper();

}  // namespace boxlite::agent

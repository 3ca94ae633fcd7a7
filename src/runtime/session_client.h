// The client's side of the agent protocol: one call and its reply, and views of sessions (class Execution).
//
// Everything that comes back was written by the guest: sizes are bounded, values are checked, text is made printable before it
// can reach a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "agent.pb.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "boxlite/box.h"
#include "boxlite/execution.h"
#include "runtime/session_view.h"

namespace boxlite {

/// A box to call.
struct BoxAddress {
  BoxAddress(std::string box_directory) : directory(std::move(box_directory)), name(directory.substr(directory.rfind('/') + 1)) {}
  BoxAddress(std::string box_directory, std::string box_name) : directory(std::move(box_directory)), name(std::move(box_name)) {}
  std::string directory;
  std::string name;  // for the messages of its sessions
};

/// How long an agent may take to reply. Calls do no long work, but a guest under TCG on a busy host can stand still for a while.
inline constexpr std::chrono::milliseconds kAgentTimeout = std::chrono::seconds(60);

/// One call on a stream of its own. A Failure of the agent becomes an Error with its code. kUnavailable: no shim listens, the box
/// ended, or no reply within `timeout`.
Result<proto::Reply> agent_call(const std::string& box_directory, const proto::Call& call,
                                std::chrono::milliseconds timeout = kAgentTimeout);

/// The same on a connected stream, which stays usable for a session (exec, attach). The socket is made non-blocking; no byte
/// after the reply is read. When `interrupt_fd` (-1: none) becomes readable it ends, with kUnavailable.
Result<proto::Reply> agent_call(int socket, const proto::Call& call, std::chrono::milliseconds timeout = kAgentTimeout,
                                int interrupt_fd = -1);

/// The container's processes, and what it has used, checked and made printable.
Result<std::vector<BoxProcess>> list_processes(const std::string& box_directory);
Result<BoxUsage> guest_usage(const std::string& box_directory);

/// How a command ended, by the agent's word. kCorrupt: no command ends so.
Result<ExitInfo> exit_info(const proto::Exited& exited);

/// A command as the agent is told it.
proto::Process to_process(const ExecOptions& options);

/// Opens the session of a call that is answered with Started.
Result<SessionView> open_session(const BoxAddress& box, const proto::Call& call,
                                 std::chrono::milliseconds timeout = kAgentTimeout, int interrupt_fd = -1);

/// Starts a command in the box. `options` are complete: the box's environment, working directory and user are already merged in.
Result<Execution> start_exec(const BoxAddress& box, const ExecOptions& options,
                             std::chrono::milliseconds timeout = kAgentTimeout);

/// A connection to a TCP port of the container's loopback.
Result<Execution> open_tunnel(const BoxAddress& box, std::uint16_t port);

/// A view of a session. With options.input, input is taken when the agent says that the command has a standard input.
Result<Execution> attach_session(const BoxAddress& box, const AttachOptions& options,
                                 std::chrono::milliseconds timeout = kAgentTimeout);

}  // namespace boxlite

// The shim's own calls to the agent: one call and its reply, and the view of the main command's session.
//
// Replies come from the guest: sizes are bounded by the codec, values are checked, and an answer that breaks the protocol is an
// error of that call.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "agent.pb.h"
#include "boxlite/execution.h"
#include "portal/message_codec.h"
#include "shim/agent_link.h"

namespace boxlite::shim {

using OnReply = std::function<void(Result<proto::Reply>)>;

/// A Failure of the agent becomes an Error with its code. `on_reply` is called exactly once, never before this returns.
/// `on_sent`: once, when the link has taken all of the call. `spare`: kSpareStreams of what a client has asked for.
void call_agent(AgentLink& link, const proto::Call& call, OnReply on_reply, std::function<void()> on_sent = {},
                std::size_t spare = 0);

struct ViewEvents {
  std::function<void(Result<void>)> on_attached;  // once, first
  std::function<void(OutputStream, std::uint64_t offset, std::string_view)> on_output;
  std::function<void(const ExitInfo&)> on_exited;
  std::function<void(const Error&)> on_lost;  // the view ended before the exit was seen
};

/// Attaches to the main command's session from these offsets of its output, without input.
void view_main(AgentLink& link, std::uint64_t stdout_offset, std::uint64_t stderr_offset, ViewEvents events);

}  // namespace boxlite::shim

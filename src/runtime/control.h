// portal.sock of a running box: what a connection says first, and the shim's own control calls.
//
// A connection begins with one line:
//   "agent 1\n"     the rest is one stream of the agent protocol (proto/agent.proto), bridged unread in both directions
//   "checkpoint 1\n"   then lines: a checkpoint of the running box is taken together with the client
//     {"memory":true,"disk":"top"}                 disk: "none", "top": of the box's own disk, "all": of it and the frozen ones
//     below with "write_out":true                          what the box has written is on the disk too, as far as its memory goes
//     back to
//                                                  → with memory, when the VM stands still: {"memory_at":"7f5a…","stdout":0,
//                                                    "stderr":0}: where QEMU has the guest's memory, and where the main command's
//                                                    output has been read to
//     go on                                        → {"ok":true} when the copy of the disk is whole; without memory it is not
//     asked end                                          → {"ok":true}: the checkpoint is the box's, whose VM ends; with disk
//     "none"
//                                                  At any time {"error":…}: the box goes on. As when the client closes.
//   "control 1\n"   then one JSON object on a line from the client, one JSON object on a line from the shim, then closed:
//     {"call":"ping"}                              → {"ok":true,"paused":"why the VM is paused, or
//     nothing","paused_by_user":false,
//                                                    "network":{…}}
//                                                    network: NetworkUsage, of a box that has one
//     {"call":"stop","grace_ms":10000}             → {"ok":true} at once; once the shim has read it, the stop goes on, whatever
//                                                    becomes of the caller. A call whose client has gone before is dropped.
//                                                    A second stop with a shorter grace shortens the first.
//     with "keep":true                               a box that removes itself does not, this time
//     {"call":"pause"}, {"call":"unpause"}         → {"ok":true} when the VM stands still, or has been told to go on
//     {"call":"signal","signal":15}                → {"ok":true}, or {"error":{"code":…,"message":…}}
// The number is the version in which that form came. A client uses the oldest form that does what it wants, so a newer one gets
// on with the shims of older boxes; a shim refuses what it does not know with {"error":…}. The peer must be the shim's own user
// or root (SO_PEERCRED).
#pragma once

#include <chrono>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite {

inline constexpr const char* kPortalSocket = "portal.sock";

/// The messages of what follows speak of "it": the caller names the box.

/// Opens a bridged stream to the agent of the box whose directory is given. kUnavailable: no shim listens.
Result<UniqueFd> open_agent_stream(const std::string& box_directory);

/// Opens a connection that a checkpoint is asked for on. kUnavailable: no shim listens.
Result<UniqueFd> open_checkpoint(const std::string& box_directory);

/// One control call. An {"error":…} of the shim becomes an Error with its code. kUnavailable: nobody listens, or no answer within
/// `timeout`.
Result<Json> control_call(const std::string& box_directory, const Json& call, std::chrono::milliseconds timeout);

}  // namespace boxlite

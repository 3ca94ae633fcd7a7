// The jail of boxlite-net, put on by itself when everything it needs is open: no privilege, no file system, no system call but
// those of a network loop. (Why not bubblewrap: decision 011.)
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace boxlite::net {

/// Not to be undone. `uid`: become this user and group, with no other groups; needs root.
///
/// Afterwards opening files fails with EACCES, sockets other than IPv4's and IPv6's with EPERM, and what has no business here
/// ends the process (SIGSYS). Memory is limited to kMaxMemory, descriptors to kMaxDescriptors: floods end there. Without Landlock
/// (Linux before 5.13) a line on standard error says so, and seccomp alone keeps files away.
Result<void> enter_sandbox(std::optional<std::uint32_t> uid);

inline constexpr std::uint64_t kMaxMemory = 1ULL << 30;
inline constexpr std::uint64_t kMaxDescriptors = 2048;

}  // namespace boxlite::net

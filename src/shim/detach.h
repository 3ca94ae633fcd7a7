// Becoming nobody's child: a box must not end with the terminal, session or process that started it, nor hold on to anything of
// theirs.
#pragma once

#include "base/result.h"

namespace boxlite::shim {

/// Forks; the caller's child ends at once, so the starter can reap it, and only the grandchild returns: in a new session, in /,
/// with umask 077, default signals (SIGPIPE ignored), and not dumpable. Descriptors are those that the starter has named
/// (ProcessSpec::inherit): 0–2 and the published ports. Must be called before any lock is
/// held and any thread exists.
Result<void> detach();

}  // namespace boxlite::shim

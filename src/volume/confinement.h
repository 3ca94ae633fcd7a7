// What the server may ask of the host's kernel: a filter of its system calls (seccomp(2)).
//
// The jail (vmm/volume_server.h) bounds which files there are; this bounds what can be done about anything else by a server that
// its guest has taken over: no program is started, no socket made, nothing mounted, traced or signalled, no memory made
// executable, no device node made. Any other call ends the process at once.
#pragma once

namespace boxlite::volume {

/// For the rest of this process's life, of one thread. False: errno says why.
bool confine();

}  // namespace boxlite::volume

// A process of its own between the volumes' 9P clients, in the guest's kernel, and their servers on the host: a link
// (link.h) on a port of its own, with one stream for each volume.
//
// Not in the agent: it would wait for itself. The kernel holds a pipe's lock while sendfile() or splice() reads from a volume
// into it, and a process's memory lock while it pages in from one; the agent, which reads pipes of the container's commands and
// asks for their command lines, then waits for the volume. So this process touches nothing that the container can hold.
#pragma once

#include <sys/types.h>

#include <vector>

#include "agent/options.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace boxlite::agent {

struct VolumePump {
  pid_t pid = 0;                       // 0: there are no volumes
  std::vector<UniqueFd> clients = {};  // the clients' ends
};

/// Starts it, and sets `connection` of each volume. It ends when every client is gone: then all that was written has been sent.
Result<VolumePump> start_volume_pump(std::vector<VolumeMount>& volumes);

}  // namespace boxlite::agent

// The volumes of a running box: a server for each (vmm/volume_server.h), and its connection bridged, unread, to a stream on which
// the guest's 9P client speaks to it. The streams have a link of their own (agent/volume_pump.h says why).
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "agent.pb.h"
#include "base/ofd_lock.h"
#include "base/result.h"
#include "runtime/paths.h"
#include "runtime/records.h"
#include "shim/agent_link.h"
#include "shim/bridge.h"
#include "shim/event_loop.h"
#include "vmm/volume_server.h"

namespace boxlite::shim {

class Volumes {
 public:
  /// Starts the servers, which hold `lock_fd`, in `cgroup` (ProcessSpec).
  static Result<std::unique_ptr<Volumes>> launch(EventLoop& loop, const ShimConfig& config, const HomePaths& paths, int lock_fd,
                                                 int cgroup);
  Volumes(const Volumes&) = delete;
  Volumes& operator=(const Volumes&) = delete;

  /// Ends the servers and waits for them.
  ~Volumes();

  /// Begins the link; `port`: the VM's end of the volumes' port, non-blocking, open longer than this.
  void connect(int port);
  /// What the guest is to mount.
  void describe(proto::Configure& configure) const;
  /// The box is configured: volumes that were populated are whole. An error: one could not be declared so.
  Result<void> configured();

 private:
  struct Served {
    Served(EventLoop& loop, const Mount& of, bool is_file, std::optional<OfdLock> to_populate, vmm::VolumeServer running)
        : mount(of), file(is_file), population(std::move(to_populate)), server(std::move(running)), watch(loop, server.pidfd()) {}
    Mount mount;
    bool file;
    std::optional<OfdLock> population;  // the box is to do it
    vmm::VolumeServer server;
    Watch watch;
  };
  Volumes(EventLoop& loop, const HomePaths& paths) : loop_(loop), paths_(paths) {}
  void open_streams();
  void broken(const Error& error);
  Result<void> begin_populations(const std::vector<Mount>& mounts);
  Result<void> add(const Mount& mount, const vmm::VmPrograms& programs, int lock_fd, int cgroup);

  EventLoop& loop_;
  const HomePaths& paths_;
  std::map<std::string, OfdLock> populations_;  // by volume, until a mount of it is served
  std::list<Served> served_;                    // the index of a volume is its place here
  std::optional<AgentLink> link_;
  std::map<Bridge*, std::shared_ptr<Bridge>> bridges_;
};

}  // namespace boxlite::shim

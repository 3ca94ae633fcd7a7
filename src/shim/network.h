// The network of a running box: its boxlite-net (net/net_config.h), a process beside the VM that owns the other end of the NIC
// and the published ports.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent.pb.h"
#include "base/process.h"
#include "base/result.h"
#include "boxlite/box_info.h"
#include "net/counters.h"
#include "runtime/paths.h"
#include "runtime/records.h"
#include "shim/event_loop.h"
#include "shim/log_pump.h"
#include "vmm/vm_config.h"

namespace boxlite::shim {

/// The network card of every box. `fd`: QEMU's end.
vmm::Nic guest_nic(int fd);

class Network {
 public:
  struct Events {
    /// Called at most once: without this process the box has no network.
    std::function<void(const Error&)> failed;
    /// A connection that it has refused, in its words.
    std::function<void(std::string_view what)> denied;
  };
  /// Takes over the listeners of `config`: here they are closed. The process holds `lock_fd`, so that whoever waits for the end
  /// of the box's processes finds its ports free. `cgroup`: as of ProcessSpec.
  static Result<std::unique_ptr<Network>> launch(EventLoop& loop, const ShimConfig& config, const HomePaths& paths, int lock_fd,
                                                 int cgroup, Events events);
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  /// Ends the process and waits for it: the ports are free.
  ~Network();

  /// What QEMU is to be started with; after that nic_taken().
  vmm::Nic nic() const;
  void nic_taken() { nic_.reset(); }

  /// What the guest is to configure.
  static void describe(proto::Configure& configure);

  NetworkUsage usage() const;

 private:
  Network(EventLoop& loop, Events events, net::CounterMap counters)
      : loop_(loop), events_(std::move(events)), counters_(std::move(counters)) {}
  void wait_for_line();
  void read_lines();
  void on_line(const std::string& line);
  void on_end();
  void say(const Json& message);
  void fail_once(const Error& error);

  EventLoop& loop_;
  Events events_;
  net::CounterMap counters_;
  UniqueFd nic_;
  UniqueFd control_;
  UniqueFd complaints_;
  std::optional<ChildProcess> process_;
  bool reaped_ = false;
  std::optional<Watch> control_watch_;
  std::optional<Watch> end_watch_;
  std::optional<LogPump> log_;
  std::string input_;
  std::vector<std::string> resolvers_;  // the host's, as they were last known
};

}  // namespace boxlite::shim

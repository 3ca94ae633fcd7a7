// The process of one running box. Theory of operation: shim.cc.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/ofd_lock.h"
#include "base/result.h"
#include "boxlite/execution.h"
#include "runtime/lease.h"
#include "runtime/output_log.h"
#include "runtime/paths.h"
#include "runtime/records.h"
#include "shim/agent_call.h"
#include "shim/agent_link.h"
#include "shim/audit.h"
#include "shim/boot_watch.h"
#include "shim/bridge.h"
#include "shim/capture.h"
#include "shim/clock_watch.h"
#include "shim/control_server.h"
#include "shim/event_loop.h"
#include "shim/log_pump.h"
#include "shim/network.h"
#include "shim/oom_kills.h"
#include "shim/qmp_channel.h"
#include "shim/remover.h"
#include "shim/starter.h"
#include "shim/stop_sequence.h"
#include "shim/volumes.h"
#include "vmm/vm.h"
#include "vmm/vm_cgroup.h"

namespace boxlite::shim {

class Shim {
 public:
  Shim(ShimConfig config, UniqueFd starter);

  /// The box's whole life. An error: it could not even begin, and nothing of the box was touched.
  Result<void> run();

 private:
  // The start, in order (start.cc).
  Result<void> take_lease();
  Result<void> begin();
  Result<void> launch_vm();
  void configure();
  Result<void> use_up_checkpoint();
  void begin_from_image();
  void on_full_disk();
  void adopt();
  void view_output();
  Result<void> prepared();
  void start_main();
  Result<void> running();

  // While it runs.
  void on_control(const Json& call, const Answer& answer);
  void send_signal(int number, const Answer& answer);
  void pause(const Answer& answer);
  void unpause();
  void accept_client(UniqueFd client, std::string early);
  void accept_capture(UniqueFd client, std::string early);
  void set_guest_clock(int attempts = 5);  // at most, on a host too busy for the first
  void on_output(OutputStream stream, std::uint64_t offset, std::string_view data);
  void suspend();
  void give_up_capture(const char* why);

  // The end.
  void on_exited(const ExitInfo& info);
  void expect_power_off();
  void request_stop(std::chrono::milliseconds grace, const std::string& reason);
  void fail_with(const Error& error);
  void fail_unless(Result<void> result);
  StopSequence::Actions stop_actions();
  void on_portal_hangup();
  void on_vm_end();
  void on_drained();
  void flush_soon();
  void finish_if_flushed();
  std::string oom_note() const;
  std::string oom_suspicion(int signal) const;
  std::string last_words() const;
  ExitRecord outcome() const;
  Result<void> conclude();

  Result<void> set_phase(Phase phase);
  void set_stopping();
  /// The box's own, for a stop that nobody gave one to.
  std::chrono::seconds grace() const {
    return std::chrono::seconds(config_.box.options.stop_seconds.value_or(kDefaultStopSeconds));
  }
  /// The end has begun and its reason is known or will be: what fails from now on fails because of it.
  bool over() const { return vm_ended_ || portal_closed_ || failure_ || suspended_; }

  ShimConfig config_;
  HomePaths paths_;
  std::string id_;
  Audit audit_;
  EventLoop loop_;
  Starter starter_;
  std::optional<Lease> lease_;

  std::optional<Remover> remover_;  // of a box that removes itself
  // Before what runs in it, and so removed after that has ended, and before the lease is released.
  std::unique_ptr<vmm::VmCgroup> cgroup_;  // none: the host has no place for one
  std::unique_ptr<Volumes> volumes_;
  std::unique_ptr<Network> network_;  // none: the box has no network
  // Destroyed in reverse: whatever watches the VM's descriptors goes before the VM.
  std::uint64_t oom_kills_before_ = oom_kills();
  bool vm_begun_ = false;  // tried, at least
  std::optional<vmm::Vm> vm_;
  std::optional<Watch> vm_watch_;
  std::optional<LogPump> console_;
  std::optional<LogPump> complaints_;
  std::optional<QmpChannel> qmp_;
  std::optional<AgentLink> link_;
  std::map<Bridge*, std::shared_ptr<Bridge>> bridges_;
  std::shared_ptr<Capture> capture_;  // while a checkpoint is taken
  std::optional<ControlServer> server_;
  std::optional<BootWatch> boot_watch_;
  std::optional<OutputLogWriter> output_log_;
  std::unique_ptr<ClockWatch> clock_watch_;
  StopSequence stop_sequence_;
  Timer flush_timer_;
  Timer image_deadline_;

  StateRecord state_;
  bool answered_ = false;                          // the agent has
  bool configured_ = false;                        // the agent has mounted the disk: a stop must let it sync
  std::array<std::uint64_t, 2> output_read_ = {};  // of the main command's, in its own offsets
  bool checkpoint_used_ = false;                   // the one that this start goes on from
  bool suspended_ = false;
  bool viewed_ = false;  // the main command's output is
  bool main_started_ = false;
  bool portal_closed_ = false;
  bool vm_ended_ = false;
  int drains_left_ = 0;
  bool flushing_ = false;  // clients have a while to read what is left
  bool killed_ = false;    // by the user's SIGKILL
  bool stop_requested_ = false;
  std::string stop_reason_;
  std::optional<ExitInfo> exited_;
  std::optional<Error> failure_;
  bool failed_first_ = false;  // the main command's exit came of the failure
  std::string vm_end_;         // how QEMU ended, in words
};

}  // namespace boxlite::shim

// boxlite-template: boots a VM that belongs to no box and saves it, so that boxes of its shape can be restored from it
// (runtime/templates.h). It runs no user's code, and knows of no box.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "runtime/records.h"
#include "shim/agent_link.h"
#include "shim/boot_watch.h"
#include "shim/event_loop.h"
#include "shim/imager.h"
#include "shim/log_pump.h"
#include "shim/qmp_channel.h"
#include "vmm/vm.h"

namespace boxlite::shim {

class TemplateMaker {
 public:
  explicit TemplateMaker(TemplateJob job) : job_(std::move(job)) {}

  /// Returns when the VM has ended: then its memory file and its device state belong together.
  Result<void> run();

 private:
  Result<void> begin();
  void prepare();
  void save();
  void take_image();
  void no_image(const Error& reason) const;
  void saved();
  void fail_with(const Error& error);
  void on_vm_end();

  TemplateJob job_;
  EventLoop loop_;
  UniqueFd state_file_;
  UniqueFd nic_peer_;  // nobody reads it: before it is configured a guest sends nothing
  std::optional<vmm::Vm> vm_;
  std::optional<Watch> vm_watch_;
  std::optional<LogPump> console_;
  std::optional<LogPump> complaints_;
  std::optional<QmpChannel> qmp_;
  std::optional<AgentLink> link_;
  std::optional<Imager> imager_;
  std::optional<BootWatch> boot_watch_;
  Timer deadline_{loop_};
  bool imaging_ = false;
  bool saved_ = false;
  std::optional<Error> failure_;
};

}  // namespace boxlite::shim

#include "shim/template_maker.h"

#include <fcntl.h>

#include <utility>

#include <fmt/core.h>

#include "base/bounded_log.h"
#include "base/failpoint.h"
#include "base/sys.h"
#include "net/addresses.h"
#include "shim/agent_call.h"
#include "shim/confinement.h"
#include "shim/device_state.h"
#include "shim/log.h"
#include "shim/network.h"

namespace boxlite::shim {
namespace {

// Whoever waits for the template, which holds nothing that is needed, can boot a box in that time.
constexpr auto kPatience = std::chrono::seconds(90);
constexpr std::uint64_t kTemplateConsoleLimit = 1 << 20U;

std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

}  // namespace

Result<void> TemplateMaker::run() {
  TRY(begin());
  loop_.run();
  if (failure_) return std::unexpected(*failure_);
  return {};
}

Result<void> TemplateMaker::begin() {
  TRY_ASSIGN(state_file_, sys::open(job_.device_state, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  TRY_ASSIGN(BoundedLog console_log, BoundedLog::begin(job_.console_log, kTemplateConsoleLimit));
  vmm::Nic nic;
  UniqueFd nic_end;
  if (job_.nic) {
    TRY_ASSIGN(sys::SocketPair pair, sys::socket_pair(SOCK_DGRAM));
    nic_end = std::move(pair.a);
    nic_peer_ = std::move(pair.b);
    nic = guest_nic(nic_end.get());
  }
  {
    TRY_ASSIGN(vmm::Vm vm, vmm::Vm::launch(job_.vm, job_.programs, -1, nic));
    vm_.emplace(std::move(vm));
  }
  if (!job_.process_image.empty()) {
    auto imager = Imager::start(job_, *vm_);
    if (imager)
      imager_.emplace(std::move(*imager));
    else
      no_image(imager.error());
  }
  FAILPOINT("template.vm_started");
  vm_watch_.emplace(loop_, vm_->pidfd());
  vm_watch_->on_readable([this] { on_vm_end(); });
  console_.emplace(loop_, vm_->console_fd(), std::move(console_log));
  complaints_.emplace(loop_, vm_->stderr_fd(), std::nullopt);
  qmp_.emplace(loop_, vm_->qmp_fd());
  link_.emplace(loop_, vm_->portal_fd());
  link_->begin([this] { prepare(); }, [this](const Error& error) { fail_with(error.context("its agent broke the protocol")); },
               [] {});
  boot_watch_.emplace(loop_, *vm_, *link_, [this] {
    fail_with(Error(ErrorCode::kUnavailable,
                    fmt::format("its guest does not answer after {} s of CPU time", BootWatch::kLimitMs / 1000)));
  });
  deadline_.start(kPatience, [this] {
    const Error late(ErrorCode::kUnavailable, fmt::format("it was not made within {} s", kPatience.count()));
    if (!imaging_) return fail_with(late);
    no_image(late);
    saved();
  });
  // As a box's shim does, and for the same reason: nothing that came from the VM has been read yet.
  return confine({{folder_of(job_.console_log), LandlockRule::kChange}, {"/proc", LandlockRule::kRead}});
}

// The answer says that the agent waits for its next call, and that nothing is on its way in either direction.
void TemplateMaker::prepare() {
  proto::Call call;
  if (job_.prepared) {
    call.mutable_prepare()->set_disk_bytes(job_.disk_bytes);
    call.mutable_prepare()->set_privileged(job_.privileged);
    *call.mutable_prepare()->mutable_commands() = {job_.commands.begin(), job_.commands.end()};
  } else {
    call.mutable_ping();
  }
  call_agent(*link_, call, [this](const Result<proto::Reply>& reply) {
    if (failure_) return;
    if (!reply) return fail_with(reply.error());
    boot_watch_.reset();
    save();
  });
}

void TemplateMaker::save() {
  const auto check = [this](const Result<void>& result) {
    if (!result) fail_with(result.error());
    return !failure_;
  };
  qmp_->hold([this, check](const Result<void>& held) {
    if (!check(held)) return;
    save_device_state(*qmp_, state_file_.get(), [this, check](const Result<void>& result) {
      if (check(result)) take_image();
    });
  });
}

// What a template is without it is enough: boxes are restored from the state of the devices.
void TemplateMaker::take_image() {
  if (!imager_) return saved();
  imaging_ = true;
  imager_->take(loop_, [this](const Result<void>& taken) {
    if (saved_) return;
    if (!taken) no_image(taken.error());
    saved();
  });
}

void TemplateMaker::no_image(const Error& reason) const {
  log("{}", reason.message());
  (void)sys::unlink(job_.process_image);
}

void TemplateMaker::saved() {
  saved_ = true;
  // Not quit: the disk stays as the image knows it, and it was written out when the VM was stopped.
  vm_->kill();
}

void TemplateMaker::fail_with(const Error& error) {
  if (failure_) return;
  failure_ = error;
  boot_watch_.reset();
  vm_->kill();
}

void TemplateMaker::on_vm_end() {
  const auto status = vm_->wait();
  if (!saved_ && !failure_) {
    const std::string complaint = complaints_->last_lines(2);
    failure_ =
        Error(ErrorCode::kUnavailable,
              fmt::format("its VM ended{}{}", status && status->signal > 0 ? fmt::format(" by signal {}", status->signal) : "",
                          complaint.empty() ? "" : ": " + complaint));
  }
  loop_.stop();
}

}  // namespace boxlite::shim

// QMP over the VM's socket: the bytes of vmm::QmpClient, and the events that somebody here waits for.
//
// When the host's disk is full QEMU pauses the VM instead of failing the guest's write, so the guest loses nothing. Nobody tells
// when there is space again: the write is tried again every kRetry, while the VM is paused and only then.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "shim/event_loop.h"
#include "vmm/qmp.h"

namespace boxlite::shim {

class QmpChannel {
 public:
  /// `fd`: non-blocking; must outlive this.
  /// `greeted`: QmpClient::assume_greeted().
  QmpChannel(EventLoop& loop, int fd, bool greeted = false);

  /// Calls back whenever the VM is paused because the host's disk is full.
  void on_full_disk(std::function<void()> callback) { on_full_disk_ = std::move(callback); }

  /// Why the VM is paused; "" when it is not.
  std::string paused() const { return out_of_space_ ? "the host's disk is full" : ""; }

  /// As QmpClient::execute(). `fd`: sent along (getfd takes it), and the caller's to close after this; -1: none.
  void execute(std::string_view command, const Json& arguments, vmm::QmpClient::OnReply on_reply, int fd = -1);

  /// Calls back for each MIGRATION event, which the capability "events" asks for, with its status.
  void on_migration(std::function<void(const std::string& status)> callback) { on_migration_ = std::move(callback); }

  /// Calls back once, when the block job of this id has ended. None: nobody waits for it any more.
  void on_job_end(const std::string& id, std::function<void(Result<void>)> callback);

  /// The VM stands still, or goes on. What was written before reaches it then; a full disk holds it up still.
  void hold(std::function<void(Result<void>)> on_held);
  void let_go();
  bool held() const { return held_; }

  /// Asks QEMU to end. Whether it does is told by its end.
  void quit();

 private:
  void wait();
  void read_some();
  void flush();
  void on_event(const std::string& name, const Json& data);

  static constexpr std::chrono::seconds kRetry{2};

  int fd_;
  Watch watch_;
  Timer retry_;
  UniqueFd attached_;  // to the next bytes
  std::function<void()> on_full_disk_;
  std::function<void(const std::string&)> on_migration_;
  std::map<std::string, std::function<void(Result<void>)>> on_job_end_;
  bool held_ = false;
  bool out_of_space_ = false;
  bool told_io_error_ = false;
  vmm::QmpClient client_;
};

}  // namespace boxlite::shim

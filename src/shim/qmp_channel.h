// QMP over the VM's socket: the bytes of vmm::QmpClient, and the one event that needs an answer.
//
// When the host's disk is full QEMU pauses the VM instead of failing the guest's write, so the guest loses nothing. Nobody tells
// when there is space again: the write is tried again every kRetry, while the VM is paused and only then.
#pragma once

#include <string>

#include "shim/event_loop.h"
#include "vmm/qmp.h"

namespace boxlite::shim {

class QmpChannel {
 public:
  /// `fd`: non-blocking; must outlive this.
  QmpChannel(EventLoop& loop, int fd);

  /// Why the VM is paused; "" when it is not.
  std::string paused() const { return out_of_space_ ? "the host's disk is full" : ""; }

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
  bool out_of_space_ = false;
  vmm::QmpClient client_;
};

}  // namespace boxlite::shim

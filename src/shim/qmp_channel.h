// QMP over the VM's socket: the bytes of vmm::QmpClient.
#pragma once

#include "shim/event_loop.h"
#include "vmm/qmp.h"

namespace boxlite::shim {

class QmpChannel {
 public:
  /// `fd`: non-blocking; must outlive this.
  QmpChannel(EventLoop& loop, int fd);

  /// Asks QEMU to end. Whether it does is told by its end.
  void quit();

 private:
  void wait();
  void read_some();
  void flush();

  int fd_;
  Watch watch_;
  vmm::QmpClient client_;
};

}  // namespace boxlite::shim

// The state of a VM's devices, saved and loaded by QEMU. The guest's memory is not in it: that is a file beside it
// (docs/formats/checkpoint.md).
//
// QEMU has one command that saves the devices and nothing else; it is named after Xen, which needed it first. What it writes is
// loaded as a migration without memory. In its jail QEMU can open nothing: it writes to a descriptor that is sent over QMP, and
// reads from one that it has inherited.
#pragma once

#include <functional>

#include "base/result.h"
#include "shim/qmp_channel.h"

namespace boxlite::shim {

/// QEMU's name for what holds the descriptor while it is written to.
inline constexpr int kDeviceStateFdSet = 100;

/// Of a VM that stands still: writes the state of its devices to `fd`, opened O_WRONLY; the caller's to close after this.
void save_device_state(QmpChannel& qmp, int fd, std::function<void(Result<void>)> on_saved);

struct LoadEvents {
  std::function<void()> on_loaded = {};         // none: nobody waits for it, it runs then
  std::function<void(const Error&)> on_failed;  // QEMU has refused; it may also end instead
};

/// Has a VM that was started with a device_state load it from `number` (Vm::device_state_fd()).
void load_device_state(QmpChannel& qmp, int number, LoadEvents events);

}  // namespace boxlite::shim

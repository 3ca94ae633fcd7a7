// The state of a VM's devices, saved and loaded by QEMU. The guest's memory is not in it: that is a file beside it
// (docs/formats/checkpoint.md).
//
// As QEMU has it this is a migration that leaves out shared memory (x-ignore-shared), to a descriptor, since in its jail it can
// open nothing: saved to one that is sent over QMP, loaded from one that it has inherited.
#pragma once

#include <functional>

#include "base/result.h"
#include "shim/qmp_channel.h"

namespace boxlite::shim {

/// Stops the VM and writes the state of its devices to `fd`, open for writing; the caller's to close after this. The VM stands
/// still after it. `on_saved` is called once.
void save_device_state(QmpChannel& qmp, int fd, std::function<void(Result<void>)> on_saved);

/// Has a VM that was started with a device_state load it from `number` (Vm::device_state_fd()), and run. `on_failed`: QEMU has
/// refused; it may also end instead.
void load_device_state(QmpChannel& qmp, int number, std::function<void(const Error&)> on_failed);

}  // namespace boxlite::shim

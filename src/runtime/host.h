// What this host can do for boxes: the accelerator, and the words `boxlite info` has for it.
#pragma once

#include "base/result.h"
#include "boxlite/runtime.h"
#include "runtime/context.h"
#include "runtime/programs.h"
#include "vmm/accelerator.h"

namespace boxlite {

/// The runtime's forced choice, else what was proven to work (remembered in the home).
Result<vmm::AcceleratorChoice> choose_host_accelerator(const Context& context, const StartPrograms& programs);

Result<HostInfo> host_info(const Context& context);

}  // namespace boxlite

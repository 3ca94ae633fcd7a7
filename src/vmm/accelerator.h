// Which accelerator this host can really use. /dev/kvm may exist and still not run a kernel (nested and paravirtual hosts),
// so KVM is proven by booting our own kernel with it until the agent answers, at most 10 s, once per host boot, kernel and QEMU;
// the answer is remembered in `memo_path`.
#pragma once

#include <string>

#include "base/result.h"
#include "vmm/vm.h"
#include "vmm/vm_config.h"

namespace boxlite::vmm {

struct AcceleratorChoice {
  Accelerator accelerator = Accelerator::kTcg;
  std::string reason;  // one line for `boxlite info`: "KVM: the test VM did not boot within 10 s", "/dev/kvm is missing", …
};

/// Proves or remembers. Never fails for a host without KVM: the answer then is TCG with the reason.
Result<AcceleratorChoice> choose_accelerator(const VmConfig& probe, const VmPrograms& programs, const std::string& memo_path);

}  // namespace boxlite::vmm

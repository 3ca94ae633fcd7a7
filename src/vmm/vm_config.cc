#include "vmm/vm_config.h"

namespace boxlite::vmm {

std::string to_string(Accelerator accelerator) { return accelerator == Accelerator::kKvm ? "kvm" : "tcg"; }

}  // namespace boxlite::vmm

#include "cli/verb.h"

namespace boxlite::cli {

Result<void> check_accelerator(const Invocation& invocation) {
  const std::string& accelerator = invocation.runtime.accelerator;
  if (!accelerator.empty() && accelerator != "kvm" && accelerator != "tcg") {
    return fail(ErrorCode::kInvalidArgument, "--accel {}: unknown accelerator; use kvm or tcg, or leave it out", accelerator);
  }
  return {};
}

Result<Runtime> open_runtime(const Invocation& invocation) {
  TRY(check_accelerator(invocation));
  return Runtime::open(invocation.runtime);
}

Result<Runtime> open_existing(Invocation invocation) {
  invocation.runtime.create_home = false;
  return open_runtime(invocation);
}

}  // namespace boxlite::cli

// boxlite logout: forget what login kept.
#include "cli/flag_set.h"
#include "cli/output.h"

namespace boxlite::cli {

Result<int> verb_logout(Invocation& invocation) {
  FlagSet flags(invocation, "logout", "[REGISTRY]", "Forget the credentials for a registry (default docker.io)");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() > 1) return flags.usage_error("logout takes one REGISTRY");
  const std::string registry = operands->empty() ? "docker.io" : operands->front();
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY(runtime.logout(registry));
  TRY(print(one_line("Removed the credentials for " + registry) + "\n"));
  return 0;
}

}  // namespace boxlite::cli

#include "cli/verb_group.h"

#include <algorithm>

namespace boxlite::cli {

std::string verbs_help(std::string_view command, std::span<const Verb> verbs) {
  std::string text = "Commands:\n";
  for (const Verb& verb : verbs) {
    if (!verb.summary.empty()) text += fmt::format("  {:<10}{}\n", verb.name, verb.summary);
  }
  return text + fmt::format("\n{} COMMAND --help tells more.", command);
}

Result<int> run_verb_group(Invocation& invocation, const std::string& group, const std::string& summary,
                           std::span<const Verb> verbs) {
  FlagSet flags(invocation, group, "COMMAND [ARG...]", summary);
  flags.footer(verbs_help("boxlite " + group, verbs));
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kEndFlags));
  if (!operands) return 0;
  if (operands->empty()) return flags.usage_error(fmt::format("no COMMAND was given; boxlite {} --help lists them", group));
  const std::string& name = operands->front();
  const auto verb = std::ranges::find(verbs, name, &Verb::name);
  if (verb == verbs.end()) {
    return fail(ErrorCode::kInvalidArgument, "unknown command {} {}; boxlite {} --help lists the commands", group, name, group);
  }
  invocation.arguments.assign(operands->begin() + 1, operands->end());
  return verb->run(invocation);
}

}  // namespace boxlite::cli

// boxlite doctor: what is wrong with this host or this home, and what to do about it.
#include "boxlite/doctor.h"

#include <algorithm>

#include "cli/flag_set.h"
#include "cli/output.h"

namespace boxlite::cli {
namespace {

constexpr int kFoundSomething = 1;

std::string lines(const std::vector<Finding>& findings, const std::string& area) {
  std::string text;
  for (const Finding& finding : findings) {
    if (finding.area != area) continue;
    text += fmt::format("  {:<8}  {}: {}\n", name(finding.level), one_line(finding.subject), one_line(finding.text));
    if (!finding.remedy.empty()) text += fmt::format("  {:<8}  -> {}\n", "", one_line(finding.remedy));
  }
  return text.empty() ? text : fmt::format("{}:\n{}", area == "host" ? "Host" : "Home", text);
}

Json to_json(const std::vector<Finding>& findings) {
  Json rows = Json::array();
  for (const Finding& finding : findings) {
    rows.push_back({{"area", finding.area},
                    {"subject", finding.subject},
                    {"level", std::string(name(finding.level))},
                    {"text", finding.text},
                    {"remedy", finding.remedy}});
  }
  return rows;
}

}  // namespace

Result<int> verb_doctor(Invocation& invocation) {
  FlagSet flags(invocation, "doctor", "[OPTIONS]", "Look for what is wrong with this host and this home");
  bool repair = false;
  std::optional<std::string> format;
  flags.flag("--repair", repair, "Finish what killed commands have left undone; removes nothing that could be anybody's data");
  flags.value("--format", "json", format, "A JSON array instead of lines");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (!operands->empty()) return flags.usage_error(fmt::format("doctor takes no operand, got {}", operands->front()));
  TRY(require_json(format));
  TRY(check_accelerator(invocation));

  RuntimeOptions options = invocation.runtime;
  options.create_home = false;
  const std::vector<Finding> findings = diagnose(options, repair);
  TRY(format ? print_json(to_json(findings)) : print(lines(findings, "host") + lines(findings, "home")));
  return std::ranges::count(findings, Finding::Level::kProblem, &Finding::level) == 0 ? 0 : kFoundSomething;
}

}  // namespace boxlite::cli

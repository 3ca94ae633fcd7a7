// boxlite info: what this host offers and how boxes are run on it.
#include "cli/box_json.h"
#include "cli/flag_set.h"
#include "cli/output.h"

namespace boxlite::cli {

Result<int> verb_info(Invocation& invocation) {
  FlagSet flags(invocation, "info", "[OPTIONS]", "Print what this host offers and how boxes run on it");
  std::optional<std::string> format;
  flags.value("--format", "json", format, "A JSON object instead of lines");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (!operands->empty()) return flags.usage_error(fmt::format("info takes no operand, got {}", operands->front()));
  TRY(require_json(format));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(const HostInfo host, runtime.info());
  if (format) {
    TRY(print_json(host_json(host)));
    return 0;
  }
  TRY(print(
      fmt::format("Version:      {}\n"
                  "Home:         {}\n"
                  "Accelerator:  {} ({})\n"
                  "Isolation:    {}\n"
                  "QEMU:         {}\n"
                  "Boxes:        {}, {} running\n"
                  "Images:       {}\n",
                  host.version, one_line(host.home), host.accelerator, one_line(host.accelerator_reason),
                  one_line(host.isolation), one_line(host.qemu_version), host.boxes_total, host.boxes_running, host.images)));
  return 0;
}

}  // namespace boxlite::cli

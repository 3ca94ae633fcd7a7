// boxlite info: what this host offers and how boxes are run on it.
#include "cli/box_json.h"
#include "cli/flag_set.h"
#include "cli/format.h"
#include "cli/output.h"

namespace boxlite::cli {
namespace {

// A line for each process, and one for each layer that is missing.
std::string layer_lines(const std::vector<IsolationLayer>& layers) {
  std::string text;
  std::string missing;
  std::string process;
  for (const IsolationLayer& layer : layers) {
    if (!layer.on) {
      missing += fmt::format("  missing:    {} of {}: {}\n", layer.name, layer.process, one_line(layer.reason));
    } else if (layer.process != process) {
      text += fmt::format("{}  {:<12}{}", process.empty() ? "" : "\n", layer.process + ":", layer.name);
      process = layer.process;
    } else {
      text += ", " + layer.name;
    }
  }
  return text + "\n" + missing;
}

std::string failure_lines(const std::vector<std::string>& failures) {
  std::string text;
  for (const std::string& failure : failures)
    text += fmt::format("  failed:     {} (boxlite doctor tells more)\n", one_line(failure));
  return text;
}

}  // namespace

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
  TRY(
      print(fmt::format("Version:      {}\n"
                        "Home:         {}\n"
                        "Accelerator:  {} ({})\n"
                        "Isolation:    {}\n"
                        "{}"
                        "QEMU:         {}\n"
                        "Starts:       {} restored from a template, {} booted\n"
                        "Templates:    {}, {}\n"
                        "{}"
                        "Boxes:        {}, {} running\n"
                        "Images:       {}\n",
                        host.version, one_line(host.home), host.accelerator, one_line(host.accelerator_reason),
                        one_line(host.isolation), layer_lines(host.isolation_layers), one_line(host.qemu_version),
                        host.starts_restored, host.starts_booted, host.templates, human_size(host.template_bytes),
                        failure_lines(host.template_failures), host.boxes_total, host.boxes_running, host.images)));
  return 0;
}

}  // namespace boxlite::cli

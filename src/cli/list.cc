// boxlite ls, ps, list: the boxes of the home.
#include <algorithm>

#include "cli/box_filter.h"
#include "cli/box_json.h"
#include "cli/flag_set.h"
#include "cli/format.h"
#include "cli/output.h"
#include "runtime/published_ports.h"

namespace boxlite::cli {
namespace {

constexpr std::size_t kCommandWidth = 20;  // docker's

/// In one of these a box uses the machine. The others are shown with --all.
bool is_live(BoxStatus status) {
  return status == BoxStatus::kStarting || status == BoxStatus::kRunning || status == BoxStatus::kPaused ||
         status == BoxStatus::kStopping || status == BoxStatus::kUnresponsive;
}

std::string ports_text(const std::vector<PublishedPort>& ports) {
  std::string text;
  for (const PublishedPort& port : ports) {
    text += fmt::format("{}{}->{}/{}", text.empty() ? "" : ", ", address_text(port.host_ip, port.host_port), port.box_port,
                        port.protocol);
  }
  return text;
}

std::string table_of(const std::vector<BoxInfo>& boxes, bool whole_commands) {
  const Time now = std::chrono::system_clock::now();
  Table table({"BOX ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"});
  for (const BoxInfo& box : boxes) {
    const std::string whole = command_text(box.args);
    const std::string command = whole_commands ? whole : truncate(whole, kCommandWidth);
    table.add({box.id, familiar_reference(box.image), "\"" + command + "\"", human_age(box.created_at, now),
               status_text(box, now), ports_text(box.ports), one_line(box.name)});
  }
  return table.text();
}

}  // namespace

Result<int> verb_list(Invocation& invocation) {
  FlagSet flags(invocation, "ls", "[OPTIONS]", "List boxes: those that run, or all");
  bool all = false;
  bool quiet = false;
  bool no_trunc = false;
  std::vector<std::string> filters;
  std::optional<std::string> format;
  flags.flag("-a,--all", all, "Stopped, failed and created boxes too");
  flags.flag("-q,--quiet", quiet, "Only ids");
  flags.flag("--no-trunc", no_trunc, "Commands in full length");
  flags.list("-f,--filter", "KEY=VALUE", filters, "Only those with label=NAME[=VALUE], name=PART, id=BEGINNING, status=STATUS");
  flags.value("--format", "json", format, "A JSON array instead of a table");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (!operands->empty()) return flags.usage_error(fmt::format("ls takes no operand, got {}", operands->front()));
  TRY(require_json(format));
  TRY_ASSIGN(const BoxFilter filter, BoxFilter::parse(filters));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(std::vector<BoxInfo> boxes, runtime.list());
  const bool live_only = !all && !filter.wants_status();
  std::erase_if(boxes, [&](const BoxInfo& box) { return (live_only && !is_live(box.status)) || !filter.matches(box); });

  if (quiet) {
    std::string ids;
    for (const BoxInfo& box : boxes) ids += box.id + "\n";
    TRY(print(ids));
  } else if (format) {
    Json rows = Json::array();
    for (const BoxInfo& box : boxes) rows.push_back(summary_json(box));
    TRY(print_json(rows));
  } else {
    TRY(print(table_of(boxes, no_trunc)));
  }
  return 0;
}

}  // namespace boxlite::cli

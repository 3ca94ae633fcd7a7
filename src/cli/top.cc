// boxlite top: the processes of a box, as `ps -ef` writes them.
#include <algorithm>
#include <ctime>

#include "cli/flag_set.h"
#include "cli/format.h"
#include "cli/output.h"

namespace boxlite::cli {
namespace {

using std::chrono::seconds;

/// The hour of a process of today, else its day, in local time.
std::string start_text(Time started, Time now) {
  const std::time_t then = std::chrono::system_clock::to_time_t(std::chrono::time_point_cast<std::chrono::microseconds>(started));
  const std::time_t today = std::chrono::system_clock::to_time_t(std::chrono::time_point_cast<std::chrono::microseconds>(now));
  std::tm then_local = {};
  std::tm now_local = {};
  ::localtime_r(&then, &then_local);
  ::localtime_r(&today, &now_local);
  const bool same_day = then_local.tm_yday == now_local.tm_yday && then_local.tm_year == now_local.tm_year;
  char text[16] = {};
  (void)std::strftime(text, sizeof text, same_day ? "%H:%M" : "%b%d", &then_local);
  return text;
}

std::string time_text(std::chrono::nanoseconds cpu) {
  const auto total = std::chrono::duration_cast<seconds>(cpu).count();
  return fmt::format("{:02}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
}

std::string share_text(const BoxProcess& process, Time now) {
  const auto lived = now - process.started;
  if (lived <= lived.zero()) return "0";
  const double percent = 100 * static_cast<double>(process.cpu_time.count()) / static_cast<double>(lived.count());
  return std::to_string(static_cast<int>(std::min(percent, 9999.0)));
}

std::string table_of(const std::vector<BoxProcess>& processes) {
  const Time now = std::chrono::system_clock::now();
  Table table({"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"});
  for (const BoxProcess& process : processes) {
    table.add({process.user, std::to_string(process.pid), std::to_string(process.parent), share_text(process, now),
               start_text(process.started, now), process.terminal.empty() ? "?" : process.terminal, time_text(process.cpu_time),
               one_line(process.command)});
  }
  return table.text();
}

Json json_of(const std::vector<BoxProcess>& processes) {
  Json rows = Json::array();
  for (const BoxProcess& process : processes) {
    rows.push_back(Json{{"user", process.user},
                        {"pid", process.pid},
                        {"parent", process.parent},
                        {"started_at", rfc3339(process.started)},
                        {"terminal", process.terminal},
                        {"cpu_ns", process.cpu_time.count()},
                        {"command", process.command}});
  }
  return rows;
}

}  // namespace

Result<int> verb_top(Invocation& invocation) {
  FlagSet flags(invocation, "top", "[OPTIONS] BOX", "Print the processes of a running box");
  std::optional<std::string> format;
  flags.value("--format", "json", format, "A JSON array instead of a table");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() != 1 || operands->front().empty()) return flags.usage_error("top takes one BOX, and no options of ps");
  TRY(require_json(format));

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(const Box box, runtime.get(operands->front()));
  TRY_ASSIGN(const std::vector<BoxProcess> processes, box.processes());
  TRY(format ? print_json(json_of(processes)) : print(table_of(processes)));
  return 0;
}

}  // namespace boxlite::cli

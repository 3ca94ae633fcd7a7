// boxlite port: which ports of this host lead into a box.
#include <charconv>

#include "cli/flag_set.h"
#include "cli/output.h"
#include "runtime/published_ports.h"

namespace boxlite::cli {
namespace {

struct Wanted {
  std::uint16_t box_port = 0;  // 0: all
  std::string protocol;
};

Result<Wanted> parse_wanted(const FlagSet& flags, const std::string& text) {
  const std::size_t slash = text.find('/');
  Wanted wanted;
  wanted.protocol = slash == std::string::npos ? "tcp" : text.substr(slash + 1);
  const std::string number = text.substr(0, slash);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), wanted.box_port);
  const bool valid = error == std::errc() && end == number.data() + number.size() && wanted.box_port > 0 &&
                     (wanted.protocol == "tcp" || wanted.protocol == "udp");
  if (!valid) return flags.usage_error(fmt::format("\"{}\" is not a port of a box, like 80 or 53/udp", text));
  return wanted;
}

}  // namespace

Result<int> verb_port(Invocation& invocation) {
  FlagSet flags(invocation, "port", "[OPTIONS] BOX [PORT[/PROTOCOL]]",
                "Print which ports of this host lead into a box, or to one port of it");
  std::optional<std::string> format;
  flags.value("--format", "json", format, "A JSON array");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->empty() || operands->front().empty()) return flags.usage_error("no BOX was given");
  if (operands->size() > 2) return flags.usage_error("port takes a BOX and a PORT, got " + operands->at(2));
  TRY(require_json(format));
  Wanted wanted;
  if (operands->size() == 2) {
    TRY_ASSIGN(wanted, parse_wanted(flags, operands->at(1)));
  }

  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(const Box box, runtime.get(operands->front()));
  TRY_ASSIGN(const BoxInfo info, box.info());
  std::string lines;
  Json rows = Json::array();
  for (const PublishedPort& port : info.ports) {
    if (wanted.box_port != 0 && (port.box_port != wanted.box_port || port.protocol != wanted.protocol)) continue;
    const std::string address = address_text(port.host_ip, port.host_port);
    lines += wanted.box_port != 0 ? address + "\n" : fmt::format("{}/{} -> {}\n", port.box_port, port.protocol, address);
    rows.push_back(to_json(port));
  }
  if (wanted.box_port != 0 && rows.empty()) {
    const bool live =
        info.status == BoxStatus::kRunning || info.status == BoxStatus::kPaused || info.status == BoxStatus::kStarting;
    return fail(ErrorCode::kNotFound, "no port of this host leads to {}/{} of box {}{}", wanted.box_port, wanted.protocol,
                info.name, live ? "; boxlite port " + info.name + " lists those that do" : ", which does not run");
  }
  TRY(format ? print_json(rows) : print(lines));
  return 0;
}

}  // namespace boxlite::cli

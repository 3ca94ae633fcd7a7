// boxlite fork: new boxes with the memory and disk of a running one.
#include <algorithm>
#include <climits>

#include "cli/flag_set.h"
#include "cli/output.h"
#include "cli/values.h"

namespace boxlite::cli {

Result<int> verb_fork(Invocation& invocation) {
  FlagSet flags(invocation, "fork", "[OPTIONS] BOX", "Make new boxes that go on from a running box's memory and disk");
  std::optional<std::string> name;
  std::optional<std::string> count;
  flags.value("--name", "NAME", name, "Name of the new box; with -n NAME-1, NAME-2, …");
  flags.value("-n,--count", "COUNT", count, "How many; default 1");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() != 1) return flags.usage_error(fmt::format("fork takes one BOX, got {} operands", operands->size()));
  if (name && name->empty()) return flags.usage_error("the NAME is empty");
  ForkOptions options;
  options.name = name.value_or("");
  if (count) {
    TRY_ASSIGN(const std::size_t asked, parse_count("--count", *count, "a whole number like 20"));
    options.count = static_cast<unsigned>(std::min<std::size_t>(asked, UINT_MAX));
  }
  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(Box box, runtime.get(operands->front()));
  TRY_ASSIGN(const std::vector<Box> children, box.fork(options));
  for (const Box& child : children) TRY(print(child.id() + "\n"));
  return 0;
}

}  // namespace boxlite::cli

// boxlite snapshot VERB: what a box was at one moment.
#include <array>

#include "cli/format.h"
#include "cli/output.h"
#include "cli/verb_group.h"

namespace boxlite::cli {
namespace {

struct Operand {
  std::string box;
  std::string name;
};

// BOX NAME. nullopt: the help is printed.
Result<std::optional<Operand>> box_and_name(const Invocation& invocation, FlagSet& flags) {
  TRY_ASSIGN(auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return std::nullopt;
  if (operands->size() != 2)
    return flags.usage_error(fmt::format("a BOX and a NAME are needed, got {} operands", operands->size()));
  return Operand{std::move((*operands)[0]), std::move((*operands)[1])};
}

Result<int> verb_create_snapshot(Invocation& invocation) {
  FlagSet flags(invocation, "snapshot create", "[OPTIONS] BOX NAME", "Keep a box's disk as it is now");
  bool memory = false;
  flags.flag("-m,--memory", memory, "The running machine too: what is restored goes on where it stood");
  TRY_ASSIGN(const auto operand, box_and_name(invocation, flags));
  if (!operand) return 0;
  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(Box box, runtime.get(operand->box));
  TRY(box.create_snapshot(operand->name, memory));
  TRY(print(operand->name + "\n"));
  return 0;
}

Json snapshot_json(const SnapshotInfo& snapshot) {
  return {{"name", snapshot.name}, {"created_at", snapshot.created_at}, {"memory", snapshot.memory}, {"bytes", snapshot.bytes}};
}

Result<int> verb_list_snapshots(Invocation& invocation) {
  FlagSet flags(invocation, "snapshot ls", "[OPTIONS] BOX", "List the snapshots of a box");
  bool quiet = false;
  std::optional<std::string> format;
  flags.flag("-q,--quiet", quiet, "Only names");
  flags.value("--format", "json", format, "A JSON array instead of a table");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() != 1)
    return flags.usage_error(fmt::format("snapshot ls takes one BOX, got {} operands", operands->size()));
  TRY(require_json(format));
  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(const Box box, runtime.get(operands->front()));
  TRY_ASSIGN(const std::vector<SnapshotInfo> snapshots, box.snapshots());
  if (format) {
    Json rows = Json::array();
    for (const SnapshotInfo& snapshot : snapshots) rows.push_back(snapshot_json(snapshot));
    TRY(print_json(rows));
    return 0;
  }
  const Time now = std::chrono::system_clock::now();
  Table table({"NAME", "CREATED", "MEMORY", "SIZE"});
  std::string names;
  for (const SnapshotInfo& snapshot : snapshots) {
    names += snapshot.name + "\n";
    table.add({snapshot.name, human_age(snapshot.created_at, now), snapshot.memory ? "yes" : "no", human_size(snapshot.bytes)});
  }
  TRY(print(quiet ? names : table.text()));
  return 0;
}

Result<int> verb_remove_snapshots(Invocation& invocation) {
  FlagSet flags(invocation, "snapshot rm", "BOX NAME [NAME...]", "Remove snapshots of a box");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() < 2) return flags.usage_error("a BOX and a NAME are needed");
  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(Box box, runtime.get(operands->front()));
  int status = 0;
  for (auto name = operands->begin() + 1; name != operands->end(); ++name) {
    if (const auto removed = box.remove_snapshot(*name); !removed) {
      print_error(removed.error().message());
      status = exit_status(removed.error().code());
      continue;
    }
    TRY(print(*name + "\n"));
  }
  return status;
}

Result<int> verb_restore_snapshot(Invocation& invocation) {
  FlagSet flags(invocation, "snapshot restore", "BOX NAME",
                "Make a box, which must not run, what it was; what it is now is lost");
  TRY_ASSIGN(const auto operand, box_and_name(invocation, flags));
  if (!operand) return 0;
  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(Box box, runtime.get(operand->box));
  TRY(box.restore_snapshot(operand->name));
  TRY(print(operand->name + "\n"));
  return 0;
}

constexpr std::array kSnapshotVerbs = {
    Verb{"create", verb_create_snapshot, "Keep a box's disk, and its memory if asked"},
    Verb{"ls", verb_list_snapshots, "List the snapshots of a box (also: list)"},
    Verb{"list", verb_list_snapshots, ""},
    Verb{"rm", verb_remove_snapshots, "Remove snapshots (also: remove)"},
    Verb{"remove", verb_remove_snapshots, ""},
    Verb{"restore", verb_restore_snapshot, "Make a box what it was"},
};

}  // namespace

Result<int> verb_snapshot(Invocation& invocation) {
  return run_verb_group(invocation, "snapshot", "Work with snapshots of a box", kSnapshotVerbs);
}

}  // namespace boxlite::cli

// boxlite volume VERB: directories that outlive boxes.
#include <algorithm>
#include <array>

#include "cli/box_json.h"
#include "cli/confirm.h"
#include "cli/format.h"
#include "cli/output.h"
#include "cli/verb_group.h"

namespace boxlite::cli {
namespace {

Result<int> verb_create_volume(Invocation& invocation) {
  FlagSet flags(invocation, "volume create", "[OPTIONS] [NAME]", "Make a volume; without NAME an anonymous one");
  std::vector<std::string> labels;
  std::optional<std::string> name;
  flags.list("-l,--label", "NAME[=VALUE]", labels, "A label for inspect");
  flags.value("--name", "NAME", name, "The same as NAME");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->size() + (name ? 1U : 0U) > 1)
    return flags.usage_error(fmt::format("volume create takes one NAME, got {} too", operands->back()));
  if (!operands->empty()) name = operands->front();
  if (name && name->empty()) return flags.usage_error("the NAME is empty");
  std::map<std::string, std::string> parsed;
  for (const std::string& label : labels) {
    const std::size_t equals = std::min(label.find('='), label.size());
    parsed[label.substr(0, equals)] = label.substr(std::min(equals + 1, label.size()));
  }
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(const VolumeInfo volume, runtime.create_volume(name.value_or(""), parsed));
  TRY(print(volume.name + "\n"));
  return 0;
}

Result<int> verb_list_volumes(Invocation& invocation) {
  FlagSet flags(invocation, "volume ls", "[OPTIONS]", "List volumes");
  bool quiet = false;
  std::optional<std::string> format;
  flags.flag("-q,--quiet", quiet, "Only names");
  flags.value("--format", "json", format, "A JSON array instead of a table");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (!operands->empty()) return flags.usage_error(fmt::format("volume ls takes no operand, got {}", operands->front()));
  TRY(require_json(format));
  TRY_ASSIGN(const Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(const std::vector<VolumeInfo> volumes, runtime.volumes());
  if (format) {
    Json rows = Json::array();
    for (const VolumeInfo& volume : volumes) rows.push_back(volume_json(volume));
    TRY(print_json(rows));
    return 0;
  }
  const Time now = std::chrono::system_clock::now();
  Table table({"VOLUME NAME", "CREATED", "BOXES"});
  std::string names;
  for (const VolumeInfo& volume : volumes) {
    names += volume.name + "\n";
    std::string boxes;
    for (const std::string& box : volume.boxes) boxes += (boxes.empty() ? "" : ", ") + box;
    table.add({volume.name, human_age(volume.created_at, now), boxes});
  }
  TRY(print(quiet ? names : table.text()));
  return 0;
}

// For each: an error of one is printed and the others are done all the same.
Result<int> for_each_volume(Invocation& invocation, const FlagSet& flags, const std::vector<std::string>& names,
                            const std::function<Result<void>(Runtime&, const std::string&)>& action) {
  if (names.empty()) return flags.usage_error("no VOLUME was given");
  if (std::ranges::find(names, "") != names.end()) return flags.usage_error("a VOLUME is empty");
  TRY_ASSIGN(Runtime runtime, open_existing(invocation));
  int status = 0;
  for (const std::string& name : names) {
    if (const auto done = action(runtime, name); !done) {
      print_error(done.error().message());
      status = exit_status(done.error().code());
    }
  }
  return status;
}

Result<int> verb_inspect_volume(Invocation& invocation) {
  FlagSet flags(invocation, "volume inspect", "VOLUME [VOLUME...]", "Print all about volumes as JSON");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  Json rows = Json::array();
  TRY_ASSIGN(const int status,
             for_each_volume(invocation, flags, *operands, [&rows](Runtime& runtime, const std::string& name) -> Result<void> {
               TRY_ASSIGN(const VolumeInfo volume, runtime.volume(name));
               rows.push_back(volume_json(volume));
               return {};
             }));
  TRY(print_json(rows));
  return status;
}

Result<int> verb_remove_volumes(Invocation& invocation) {
  FlagSet flags(invocation, "volume rm", "[OPTIONS] VOLUME [VOLUME...]", "Remove volumes that no box has");
  bool force = false;
  flags.flag("-f,--force", force, "A volume that is not there is no error");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  return for_each_volume(invocation, flags, *operands, [force](Runtime& runtime, const std::string& name) -> Result<void> {
    const auto removed = runtime.remove_volume(name);
    if (!removed && !(force && removed.error().code() == ErrorCode::kNotFound)) return removed;
    return print(name + "\n");
  });
}

Result<int> verb_prune_volumes(Invocation& invocation) {
  FlagSet flags(invocation, "volume prune", "[OPTIONS]", "Remove anonymous volumes that no box has");
  bool all = false;
  bool force = false;
  flags.flag("-a,--all", all, "Named ones too");
  flags.flag("-f,--force", force, "Do not ask");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (!operands->empty()) return flags.usage_error(fmt::format("volume prune takes no operand, got {}", operands->front()));
  if (!force) {
    TRY_ASSIGN(const bool sure, confirm_removal(all ? "volumes that no box has" : "anonymous volumes that no box has"));
    if (!sure) return 0;
  }
  TRY_ASSIGN(Runtime runtime, open_existing(invocation));
  TRY_ASSIGN(const VolumeRemoval removal, runtime.prune_volumes(all));
  if (!removal.names.empty()) TRY(print("Deleted Volumes:\n"));
  for (const std::string& name : removal.names) TRY(print(name + "\n"));
  if (!removal.names.empty()) TRY(print("\n"));
  TRY(print(fmt::format("Total reclaimed space: {}\n", human_size(removal.reclaimed_bytes))));
  return 0;
}

constexpr std::array kVolumeVerbs = {
    Verb{"create", verb_create_volume, "Make a volume"},
    Verb{"ls", verb_list_volumes, "List volumes (also: list)"},
    Verb{"list", verb_list_volumes, ""},
    Verb{"inspect", verb_inspect_volume, "Print all about volumes as JSON"},
    Verb{"rm", verb_remove_volumes, "Remove volumes (also: remove)"},
    Verb{"remove", verb_remove_volumes, ""},
    Verb{"prune", verb_prune_volumes, "Remove volumes that no box has"},
};

}  // namespace

Result<int> verb_volume(Invocation& invocation) {
  return run_verb_group(invocation, "volume", "Work with volumes", kVolumeVerbs);
}

}  // namespace boxlite::cli

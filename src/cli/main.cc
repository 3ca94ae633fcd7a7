// The boxlite command line. Theory of operation: flags before the verb, then one lookup in the table below, then the verb's
// function; only that verb's flags are ever built, so that `boxlite ls` starts as fast as the loader allows. A verb returns its
// exit status or an Error, which is printed here and nowhere else, as one line.
#include <csignal>

#include <algorithm>
#include <array>

#include "cli/did_you_mean.h"
#include "cli/output.h"
#include "cli/verb_group.h"

namespace boxlite::cli {
namespace {

Result<int> verb_version(Invocation& invocation) {
  FlagSet flags(invocation, "version", "[OPTIONS]", "Print the version");
  std::optional<std::string> format;
  flags.value("--format", "json", format, "A JSON object");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (!operands->empty()) return flags.usage_error(fmt::format("version takes no operand, got {}", operands->front()));
  TRY(require_json(format));
  TRY(format ? print_json(Json{{"version", BOXLITE_VERSION}}) : print("boxlite " BOXLITE_VERSION "\n"));
  return 0;
}

constexpr std::array kVerbs = {
    Verb{"run", verb_run, "Create a box from an image and run a command in it"},
    Verb{"exec", verb_exec, "Run a command in a running box"},
    Verb{"attach", verb_attach, "Connect to a command that runs in a box"},
    Verb{"cp", verb_cp, "Copy files into or out of a box"},
    Verb{"ls", verb_list, "List boxes (also: ps, list)"},
    Verb{"ps", verb_list, ""},
    Verb{"list", verb_list, ""},
    Verb{"logs", verb_logs, "Print the output of a box's main command"},
    Verb{"stop", verb_stop, "Stop boxes"},
    Verb{"start", verb_start, "Start stopped boxes"},
    Verb{"restart", verb_restart, "Stop boxes and start them again"},
    Verb{"rm", verb_rm, "Remove boxes"},
    Verb{"create", verb_create, "Create a box without starting it"},
    Verb{"kill", verb_kill, "Send a signal to boxes"},
    Verb{"pause", verb_pause, "Let boxes stand still"},
    Verb{"unpause", verb_unpause, "Let paused boxes go on"},
    Verb{"snapshot", verb_snapshot, "Keep what a box is at one moment, and go back to it"},
    Verb{"fork", verb_fork, "Make new boxes that go on from a running one"},
    Verb{"export", verb_export, "Write a box into an archive"},
    Verb{"rename", verb_rename, "Give a box another name"},
    Verb{"top", verb_top, "Print the processes of a box"},
    Verb{"stats", verb_stats, "Print what boxes use, every second"},
    Verb{"port", verb_port, "Print which ports of this host lead into a box"},
    Verb{"network", verb_network, "Reach a port in a box"},
    Verb{"wait", verb_wait, "Wait until boxes have ended and print their exit codes"},
    Verb{"inspect", verb_inspect, "Print all about boxes as JSON"},
    Verb{"pull", verb_pull, "Get an image"},
    Verb{"login", verb_login, "Keep credentials for a registry"},
    Verb{"logout", verb_logout, "Forget credentials for a registry"},
    Verb{"images", verb_images, "List the images that are here"},
    Verb{"rmi", verb_rmi, "Remove images"},
    Verb{"tag", verb_tag, "Give an image one more name"},
    Verb{"load", verb_load, "Take the images of an archive"},
    Verb{"save", verb_save, "Write images into an archive"},
    Verb{"import", verb_import, "Make a box of an archive of one, or an image of the tar of a root file system"},
    Verb{"image", verb_image, "Work with images: inspect, prune, and the above"},
    Verb{"volume", verb_volume, "Make, list and remove volumes"},
    Verb{"doctor", verb_doctor, "Look for what is wrong with this host and this home"},
    Verb{"gc", verb_gc, "Remove what nothing refers to"},
    Verb{"info", verb_info, "Print what this host offers"},
    Verb{"version", verb_version, "Print the version"},
};

// Docker's commands that are not here: they are meant as they are, whatever they resemble.
constexpr std::array<std::string_view, 23> kDockersOwn = {"build",     "builder", "buildx", "commit", "compose", "config",
                                                          "container", "context", "diff",   "events", "history", "manifest",
                                                          "node",      "plugin",  "push",   "search", "secret",  "service",
                                                          "stack",     "swarm",   "system", "trust",  "update"};

Result<int> run_verb(const std::string& name, Invocation& invocation) {
  const auto* verb = std::ranges::find(kVerbs, name, &Verb::name);
  if (verb != kVerbs.end()) return verb->run(invocation);
  if (std::ranges::find(kDockersOwn, name) != kDockersOwn.end()) {
    return fail(ErrorCode::kUnsupported,
                "unknown command {}: this one of docker's is not here; boxlite --help lists the commands", name);
  }
  std::vector<std::string_view> names;
  for (const Verb& known : kVerbs) names.push_back(known.name);
  const std::string_view close = did_you_mean(name, names);
  const std::string hint = close.empty() ? "boxlite --help lists the commands" : fmt::format("did you mean {}?", close);
  return fail(ErrorCode::kInvalidArgument, "unknown command {}; {}", name.empty() ? "\"\"" : name, hint);
}

// "help VERB" is "VERB --help", "help" is "--help".
std::vector<std::string> spell_out_help(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return {"--help"};
  if (arguments.front() != "help") return arguments;
  if (arguments.size() == 1) return {"--help"};
  return {arguments[1], "--help"};
}

Result<int> run_command_line(const std::vector<std::string>& arguments) {
  Invocation invocation;
  FlagSet flags(invocation, "", "[OPTIONS] COMMAND [ARG...]", "Run container images, each in a small virtual machine of its own");
  bool version = false;
  flags.flag("-v,--version", version, "Print the version");
  flags.footer(verbs_help("boxlite", kVerbs));
  TRY_ASSIGN(const auto operands, flags.parse(spell_out_help(arguments), Operands::kEndFlags));
  if (!operands) return 0;
  if (version) return verb_version(invocation);
  if (operands->empty()) return flags.usage_error("no COMMAND was given; boxlite --help lists them");
  invocation.arguments.assign(operands->begin() + 1, operands->end());
  return run_verb(operands->front(), invocation);
}

}  // namespace

}  // namespace boxlite::cli

int main(int argc, char** argv) {
  boxlite::cli::ensure_standard_descriptors();
  ::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of the write that meets it
  const boxlite::Result<int> status = boxlite::cli::run_command_line({argv + std::min(argc, 1), argv + argc});
  if (status) return *status;
  boxlite::cli::print_error(status.error().message());
  return boxlite::exit_status(status.error().code());
}

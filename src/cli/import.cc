// boxlite import: a box from the archive that export writes, or an image from the tar of a root file system.
#include <fcntl.h>
#include <unistd.h>

#include "base/sys.h"
#include "cli/env_file.h"
#include "cli/flag_set.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/user_path.h"
#include "cli/values.h"

namespace boxlite::cli {
namespace {

struct BoxFlagsOfImport {
  std::optional<std::string> name;
  std::vector<std::string> env;
  std::vector<std::string> env_files;
  std::vector<std::string> publish;
  std::optional<std::string> cpus;
  std::optional<std::string> memory;
  std::optional<std::string> network;
  bool host_access = false;

  bool any() const {
    return name || !env.empty() || !env_files.empty() || !publish.empty() || cpus || memory || network || host_access;
  }
};

Result<int> import_box(const Invocation& invocation, int fd, const std::string& source, const BoxFlagsOfImport& flags) {
  BoxImportOptions options;
  options.name = flags.name.value_or("");
  options.publish = flags.publish;
  options.host_access = flags.host_access;
  TRY_ASSIGN(options.env, read_environment(flags.env_files, flags.env));
  if (flags.cpus) {
    TRY_ASSIGN(options.cpus, parse_cpus("--cpus", *flags.cpus));
  }
  if (flags.memory) {
    TRY_ASSIGN(const std::uint64_t bytes, parse_size("--memory", *flags.memory));
    options.memory_mib = (bytes + kMiB - 1) / kMiB;
  }
  if (flags.network) options.network = *flags.network == "default" ? "" : *flags.network;
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(const BoxImport imported, runtime.import_box(fd, source, options));
  for (const std::string& note : imported.left_out) print_notice("not imported: " + note);
  TRY(print(imported.box.id() + "\n"));
  return 0;
}

}  // namespace

Result<int> verb_import(Invocation& invocation) {
  FlagSet flags(
      invocation, "import", "[OPTIONS] FILE|- [NAME[:TAG]]",
      "Make a box of the archive of one (boxlite export), or an image of the tar of a root file system, compressed or not");
  BoxFlagsOfImport of_box;
  ImportOptions options;
  flags.value("--name", "NAME", of_box.name, "Of a box: its name; default the one in the archive, where that is free");
  flags.list("-e,--env", "NAME[=VALUE]", of_box.env, "Of a box: set a variable; without =VALUE it is taken from here");
  flags.list("--env-file", "FILE", of_box.env_files, "Of a box: set variables from lines NAME[=VALUE]");
  flags.list("-p,--publish", "PORTS", of_box.publish, "Of a box: let a port of this host lead into it, as run does");
  flags.flag("--host-access", of_box.host_access, "Of a box: let host.boxlite.internal lead to this host's loopback");
  flags.value("--cpus", "N", of_box.cpus, "Of a box: CPUs, in place of what the archive says");
  flags.value("-m,--memory", "SIZE", of_box.memory, "Of a box: memory, in place of what the archive says");
  flags.value("--network", "MODE", of_box.network, "Of a box: default or none, in place of what the archive says");
  flags.list("-c,--change", "INSTRUCTION", options.changes,
             "Of an image: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR as in a Dockerfile");
  TRY_ASSIGN(const auto operands, flags.parse(invocation.arguments, Operands::kAnywhere));
  if (!operands) return 0;
  if (operands->empty() || operands->size() > 2)
    return flags.usage_error("import takes a FILE (or -), and for an image perhaps a NAME");
  const bool from_stdin = operands->front() == "-";
  const std::string source = from_stdin ? "standard input" : operands->front();
  if (from_stdin && is_terminal(STDIN_FILENO)) return flags.usage_error("standard input is a terminal; redirect it");

  UniqueFd file;
  if (!from_stdin) {
    TRY_ASSIGN(file, check_path(sys::open(source, O_RDONLY)));
  }
  const int fd = from_stdin ? STDIN_FILENO : file.get();
  TRY_ASSIGN(const bool is_box, is_box_archive(fd));
  if (is_box) {
    if (operands->size() == 2 || !options.changes.empty())
      return flags.usage_error(
          fmt::format("{} is the archive of a box: NAME and --change are for images; there is --name", source));
    return import_box(invocation, fd, source, of_box);
  }
  if (of_box.any())
    return flags.usage_error(fmt::format("{} is not the archive of a box: it becomes an image, and {}", source,
                                         "--name, --env, --publish and their like are for boxes"));
  if (operands->size() == 2) options.reference = operands->at(1);
  TRY_ASSIGN(Runtime runtime, open_runtime(invocation));
  TRY_ASSIGN(const ImageInfo image, runtime.import_root(fd, source, options));
  TRY(print(image.id + "\n"));
  return 0;
}

}  // namespace boxlite::cli

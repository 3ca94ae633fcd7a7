#include "cli/box_flags.h"

#include <unistd.h>

#include "cli/terminal.h"
#include "cli/values.h"

namespace boxlite::cli {

void BoxFlags::add_to(FlagSet& flags) {
  flags.flag("-i,--interactive", interactive_, "Keep the command's standard input open");
  flags.flag("-t,--tty", tty_, "Give the command a terminal");
  flags.flag("--rm", auto_remove_, "Remove the box when its command has ended");
  flags.value("--name", "NAME", name_, "Name of the box (default: one is made up)");
  flags.list("-e,--env", "NAME[=VALUE]", env_, "Set a variable; without =VALUE it is taken from here");
  flags.value("-w,--workdir", "DIR", working_dir_, "Working directory of the command");
  flags.value("-u,--user", "USER[:GROUP]", user_, "User of the command, names or numbers");
  flags.value("--entrypoint", "PROGRAM", entrypoint_, "Replace the image's entrypoint; \"\" drops it");
  flags.value("--cpus", "NUMBER", cpus_, "Whole CPUs (default 1)");
  flags.value("-m,--memory", "SIZE", memory_, "Memory (default 512m)");
  flags.value("--disk-size", "SIZE", disk_size_, "Size of the root disk (default 10g)");
  flags.flag("--privileged", privileged_, "All capabilities and devices of its own VM, none of the host's");
}

Result<BoxOptions> BoxFlags::options(const FlagSet& flags, const std::vector<std::string>& operands) const {
  if (operands.empty()) return flags.usage_error("no IMAGE was given");
  BoxOptions result;
  result.image = operands.front();
  if (result.image.empty()) return flags.usage_error("the IMAGE is empty");
  result.command = command_after_separator({operands.begin() + 1, operands.end()});
  if (name_) {
    if (name_->empty())
      return fail(ErrorCode::kInvalidArgument, "--name \"\": a name must not be empty; leave the flag out to get one");
    result.name = *name_;
  }
  if (entrypoint_) {
    result.entrypoint.emplace();
    if (!entrypoint_->empty()) result.entrypoint->push_back(*entrypoint_);
  }
  TRY_ASSIGN(result.env, resolve_environment("--env", env_));
  result.working_dir = working_dir_.value_or("");
  if (!result.working_dir.empty() && result.working_dir[0] != '/') {
    return fail(ErrorCode::kInvalidArgument, "--workdir {}: not an absolute path; begin it with /", result.working_dir);
  }
  result.user = user_.value_or("");
  if (cpus_) {
    TRY_ASSIGN(result.cpus, parse_cpus("--cpus", *cpus_));
  }
  if (memory_) {
    TRY_ASSIGN(const std::uint64_t bytes, parse_size("--memory", *memory_));
    result.memory_mib = (bytes + kMiB - 1) / kMiB;
    if (result.memory_mib < kMinMemoryMib) {
      return fail(ErrorCode::kInvalidArgument, "--memory {}: a box needs at least {}m", *memory_, kMinMemoryMib);
    }
  }
  if (disk_size_) {
    TRY_ASSIGN(result.disk_bytes, parse_size("--disk-size", *disk_size_));
    if (result.disk_bytes == 0) return fail(ErrorCode::kInvalidArgument, "--disk-size {}: a disk must not be empty", *disk_size_);
  }
  result.tty = tty_;
  result.open_stdin = interactive_;
  result.privileged = privileged_;
  result.auto_remove = auto_remove_;
  return result;
}

std::vector<std::string> command_after_separator(std::vector<std::string> words) {
  if (!words.empty() && words.front() == "--") words.erase(words.begin());
  return words;
}

Result<void> check_terminal_input(bool interactive, bool tty) {
  if (interactive && tty && !is_terminal(STDIN_FILENO)) {
    return fail(ErrorCode::kInvalidArgument, "the input device is not a TTY; leave -t out, or run this from a terminal");
  }
  return {};
}

}  // namespace boxlite::cli

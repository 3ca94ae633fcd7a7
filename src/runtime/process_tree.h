// Processes below one another, as /proc tells anybody.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace boxlite {

/// A process and all below it, each once. One that begins or ends meanwhile may be missing.
std::vector<pid_t> process_tree(pid_t root);

/// The first 15 bytes of its program's name, as ps(1) has it. "": it is gone.
std::string process_name(pid_t pid);

/// The path of a program whose name begins so and that it has mapped, if that is still the same file.
std::optional<std::string> mapped_program(pid_t pid, std::string_view name);

/// It has a CPU, waits for one, or waits for a disk. False when it is gone.
bool is_at_work(pid_t pid);

/// Stopped by a signal or a debugger: it does nothing until it is told to go on. False when it is gone.
bool is_stopped(pid_t pid);

/// The first process of `tree` that is stopped and whose name begins with `name`.
std::optional<pid_t> find_stopped(const std::vector<pid_t>& tree, std::string_view name);

}  // namespace boxlite

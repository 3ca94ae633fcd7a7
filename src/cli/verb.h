// What a verb of the command line is. main.cc has the table of them; each is a function in a file of its own name.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "boxlite/runtime.h"

namespace boxlite::cli {

/// One invocation of a verb. `runtime` holds --home and --accel, which are accepted before and after the verb.
struct Invocation {
  RuntimeOptions runtime;
  std::vector<std::string> arguments;  // behind the verb
};

/// Refuses an --accel that there is not.
Result<void> check_accelerator(const Invocation& invocation);

/// Opens the home, after that check.
Result<Runtime> open_runtime(const Invocation& invocation);

/// The same for verbs that only look, or name boxes: a home that is not there is none the better for being made by a typo.
Result<Runtime> open_existing(Invocation invocation);

/// The exit status of our own failures, docker's.
inline constexpr int kExitFailure = 125;

// Each returns the exit status. An Error is printed by main, once, and gives exit_status(error.code()).
Result<int> verb_run(Invocation& invocation);
Result<int> verb_create(Invocation& invocation);
Result<int> verb_start(Invocation& invocation);
Result<int> verb_stop(Invocation& invocation);
Result<int> verb_restart(Invocation& invocation);
Result<int> verb_rename(Invocation& invocation);
Result<int> verb_top(Invocation& invocation);
Result<int> verb_stats(Invocation& invocation);
Result<int> verb_kill(Invocation& invocation);
Result<int> verb_pause(Invocation& invocation);
Result<int> verb_unpause(Invocation& invocation);
Result<int> verb_snapshot(Invocation& invocation);
Result<int> verb_export(Invocation& invocation);
Result<int> verb_fork(Invocation& invocation);
Result<int> verb_cp(Invocation& invocation);
Result<int> verb_exec(Invocation& invocation);
Result<int> verb_attach(Invocation& invocation);
Result<int> verb_list(Invocation& invocation);
Result<int> verb_rm(Invocation& invocation);
Result<int> verb_logs(Invocation& invocation);
Result<int> verb_inspect(Invocation& invocation);
Result<int> verb_wait(Invocation& invocation);
Result<int> verb_pull(Invocation& invocation);
Result<int> verb_login(Invocation& invocation);
Result<int> verb_logout(Invocation& invocation);
Result<int> verb_images(Invocation& invocation);
Result<int> verb_image(Invocation& invocation);
Result<int> verb_image_inspect(Invocation& invocation);
Result<int> verb_image_prune(Invocation& invocation);
Result<int> verb_load(Invocation& invocation);
Result<int> verb_save(Invocation& invocation);
Result<int> verb_import(Invocation& invocation);
Result<int> verb_tag(Invocation& invocation);
Result<int> verb_rmi(Invocation& invocation);
Result<int> verb_volume(Invocation& invocation);
Result<int> verb_port(Invocation& invocation);
Result<int> verb_network(Invocation& invocation);
Result<int> verb_doctor(Invocation& invocation);
Result<int> verb_gc(Invocation& invocation);
Result<int> verb_info(Invocation& invocation);

}  // namespace boxlite::cli

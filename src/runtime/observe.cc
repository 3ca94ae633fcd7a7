#include "runtime/observe.h"

#include <chrono>
#include <thread>

#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"
#include "runtime/box_config.h"
#include "runtime/checkpoint.h"
#include "runtime/exit_record.h"
#include "runtime/last_words.h"
#include "runtime/ping.h"
#include "runtime/process_tree.h"

namespace boxlite {
namespace {

constexpr std::size_t kMaxRecordFile = 64 * 1024;
constexpr auto kPingTimeout = std::chrono::seconds(2);
constexpr auto kRefusedPause = std::chrono::milliseconds(10);

// In the order that status.cc explains.
Result<Observation> look(const HomePaths& paths, BoxRow row, const std::string& boot) {
  Observation seen;
  seen.row = std::move(row);
  seen.boot_id = boot;
  const std::string& id = seen.row.id;
  TRY_ASSIGN(seen.op_lock_held, OfdLock::held(paths.op_lock(id)));
  TRY_ASSIGN(seen.lease, probe_lease(paths, id));
  if (seen.lease.held) seen.state = read_state(paths.state(id));
  if (!seen.lease.held) seen.checkpoint = has_checkpoint(paths.box(id));
  if (seen.row.generation > 0) seen.exit = read_exit_record(paths.exit_record(id));
  return seen;
}

// The same with fewer looks, enough for boxes at rest, which are most of a long list: a free lease and an exit record, or no
// start ever. nullopt: not at rest, and `row` is untouched.
Result<std::optional<Observation>> look_at_rest(const HomePaths& paths, BoxRow& row, const std::string& boot) {
  if (row.remove_intent) return std::nullopt;
  Observation seen;
  TRY_ASSIGN(seen.lease.held, OfdLock::held(paths.lease(row.id)));
  if (seen.lease.held) return std::nullopt;
  seen.checkpoint = has_checkpoint(paths.box(row.id));
  if (row.generation > 0) seen.exit = read_exit_record(paths.exit_record(row.id));
  seen.boot_id = boot;
  seen.row = std::move(row);
  if (rests_on_absence(seen)) {
    row = std::move(seen.row);
    return std::nullopt;
  }
  return seen;
}

Result<Observation> look_until_sure(const HomePaths& paths, const Database& database, BoxRow row, const std::string& boot) {
  TRY_ASSIGN(std::optional<Observation> at_rest, look_at_rest(paths, row, boot));
  if (at_rest) return std::move(*at_rest);
  for (int attempt = 0;; ++attempt) {
    TRY_ASSIGN(Observation seen, look(paths, std::move(row), boot));
    if (attempt == 3 || !rests_on_absence(seen)) return seen;
    // The box may have been started again, or removed, between the query for its row and the looks that followed.
    TRY_ASSIGN(std::optional<BoxRow> now, database.box(seen.row.id));
    if (!now) {
      // Removed while it was looked at; its files being gone must not read as a crash.
      seen.row.remove_intent = true;
      seen.op_lock_held = true;
      return seen;
    }
    if (now->generation == seen.row.generation && now->remove_intent == seen.row.remove_intent) return seen;
    row = std::move(*now);
  }
}

bool should_answer(const Observation& seen) {
  return seen.lease.held && seen.state && seen.state->generation >= seen.row.generation && seen.state->phase != Phase::kStarting;
}

// A state that is there and cannot be read: nobody but the shim knows how far it is.
bool state_lost(const HomePaths& paths, const Observation& seen) {
  return seen.lease.held && !seen.state && !seen.row.remove_intent && sys::stat(paths.state(seen.row.id)).has_value();
}

// A shim that answers and has no readable state runs, unless the state has come meanwhile.
void recover_state(const HomePaths& paths, Observation& seen) {
  seen.state = read_state(paths.state(seen.row.id));
  if (!seen.state)
    seen.state = StateRecord{
        .generation = seen.row.generation, .phase = Phase::kRunning, .started_at = {}, .accelerator = {}, .ports = {}};
}

// Finds shims that are alive and silent. A refused connection is the moment of beginning or ending: such a box is looked at
// again.
Result<void> find_silent(const HomePaths& paths, const Database& database, std::vector<Observation>& boxes,
                         const std::string& boot) {
  const auto deadline = std::chrono::steady_clock::now() + kPingTimeout;
  std::vector<Observation*> asked;
  for (Observation& seen : boxes) {
    if (!seen.lease.held) continue;
    if (seen.lease.record && seen.lease.record->boot_id == boot && is_stopped(seen.lease.record->pid)) {
      seen.shim_silent = true;
    } else if (should_answer(seen) || state_lost(paths, seen)) {
      asked.push_back(&seen);
    }
  }
  while (!asked.empty()) {
    std::vector<std::string> directories;
    for (const Observation* seen : asked) directories.push_back(paths.box(seen->row.id));
    const bool over = std::chrono::steady_clock::now() >= deadline;  // still, each is asked once
    const std::vector<PingAnswer> answers = ping_shims(directories, deadline);
    std::vector<Observation*> again;
    for (std::size_t i = 0; i < asked.size(); ++i) {
      Observation& seen = *asked[i];
      if (answers[i].result == PingResult::kAnswered) {
        seen.paused = answers[i].paused;
        seen.paused_by_user = answers[i].paused_by_user;
        seen.network_usage = answers[i].network_usage;
        if (!seen.state) recover_state(paths, seen);
        continue;
      }
      if (answers[i].result == PingResult::kRefused) {
        TRY_ASSIGN(seen, look_until_sure(paths, database, std::move(seen.row), boot));
        if (!should_answer(seen) || seen.state->phase == Phase::kStopping) continue;
        if (!over) {
          again.push_back(&seen);
          continue;
        }
      }
      seen.shim_silent = true;
    }
    asked = std::move(again);
    if (!asked.empty()) std::this_thread::sleep_for(kRefusedPause);
  }
  return {};
}

std::string words_of_crash(const HomePaths& paths, const std::string& id, std::size_t lines) {
  std::string words;
  if (const std::string console = last_words(paths.console_log(id), lines); !console.empty()) words = "console: " + console;
  if (const std::string shim = last_words(paths.shim_log(id), lines); !shim.empty())
    words += (words.empty() ? "" : "; ") + ("shim log: " + shim);
  return words;
}

Result<BoxInfo> describe(const HomePaths& paths, Observation& seen, std::size_t log_lines) {
  if (rests_on_absence(seen)) seen.last_words = words_of_crash(paths, seen.row.id, log_lines);
  const DerivedStatus derived = derive_status(seen);
  const BoxRow& row = seen.row;
  BoxInfo info;
  info.id = row.id;
  info.name = row.name;
  info.status = derived.status;
  info.reason = derived.reason;
  info.exit_code = derived.exit_code;
  info.generation = row.generation;
  if (seen.lease.held && seen.lease.record) info.shim_pid = seen.lease.record->pid;
  info.network_usage = seen.network_usage;
  info.image = row.image_reference;
  info.image_id = row.image_id;
  info.created_at = row.created_at;
  if (row.start) info.started_at = row.start->started_at;
  const auto state = seen.state || row.generation == 0 ? seen.state : read_state(paths.state(row.id));
  if (state && state->generation == row.generation) {
    info.accelerator = state->accelerator;
    if (!state->started_at.empty()) info.started_at = state->started_at;
    if (seen.lease.held) {
      info.ports = state->ports;
      info.isolation = state->isolation;
    }
  }
  if (!seen.lease.held && seen.exit && seen.exit->generation >= row.generation) {
    info.finished_at = seen.exit->finished_at;
    info.oom_killed = seen.exit->oom_killed;
  }
  TRY_ASSIGN(BoxConfig config, box_config_from_json(row.config));
  info.args = std::move(config.args);
  info.labels = std::move(config.labels);
  info.mounts = describe_mounts(paths, config.mounts);
  info.options = std::move(config.options);
  info.options.name = row.name;
  return info;
}

}  // namespace

std::optional<StateRecord> read_state(const std::string& path) {
  const auto text = read_file(path, kMaxRecordFile);
  if (!text) return std::nullopt;
  const auto json = parse_json(*text, path);
  if (!json) return std::nullopt;
  auto record = state_record_from_json(*json);
  if (!record) return std::nullopt;
  return std::move(*record);
}

Result<Observation> observe(const HomePaths& paths, const Database& database, BoxRow row) {
  TRY_ASSIGN(const std::string boot, boot_id());
  std::vector<Observation> seen(1);
  TRY_ASSIGN(seen.front(), look_until_sure(paths, database, std::move(row), boot));
  if (state_lost(paths, seen.front())) TRY(find_silent(paths, database, seen, boot));
  return std::move(seen.front());
}

Result<BoxInfo> inspect_box(const HomePaths& paths, const Database& database, const BoxRow& row) {
  TRY_ASSIGN(const std::string boot, boot_id());
  std::vector<Observation> seen(1);
  TRY_ASSIGN(seen.front(), look_until_sure(paths, database, row, boot));
  TRY(find_silent(paths, database, seen, boot));
  TRY_ASSIGN(BoxInfo info, describe(paths, seen.front(), 5));
  if (auto secrets = read_secrets(paths.secrets(row.id))) info.options.env = std::move(secrets->env);
  return info;
}

Result<std::vector<BoxInfo>> list_boxes(const HomePaths& paths, const Database& database) {
  TRY_ASSIGN(const std::string boot, boot_id());
  TRY_ASSIGN(std::vector<BoxRow> rows, database.boxes());
  std::vector<Observation> seen;
  seen.reserve(rows.size());
  for (BoxRow& row : rows) {
    TRY_ASSIGN(Observation one, look_until_sure(paths, database, std::move(row), boot));
    seen.push_back(std::move(one));
  }
  TRY(find_silent(paths, database, seen, boot));
  std::vector<BoxInfo> infos;
  infos.reserve(seen.size());
  for (Observation& one : seen) {
    TRY_ASSIGN(BoxInfo info, describe(paths, one, 1));
    infos.push_back(std::move(info));
  }
  return infos;
}

}  // namespace boxlite

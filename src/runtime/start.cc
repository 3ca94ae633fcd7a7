// Theory of operation.
//
//   starter                                         shim
//   ───────                                         ────
//   operation lock; lease free; VM lock free
//   row: generation + 1, start intent
//   spawn, stdin = one end of a socket pair ───▶    detaches, reads
//   ShimConfig, one line of JSON            ───▶    takes the lease (lease.h), which checks the generation
//                                           ◀───    {"report":"lease"}
//   drops the operation lock                        boots the VM
//                                           ◀───    {"report":"prepared"}   with `attach`
//   attaches to "main", then "go"           ───▶    runs the main command
//                                           ◀───    {"report":"running"} or {"report":"failed",…}
//
// Whoever dies, the truth can be told afterwards:
//  - The starter before the whole configuration has left: the shim sees end-of-file and ends. The row has an intent, the lease's
//    record is of an earlier start, the operation lock is free: "its start was interrupted".
//  - The starter after that: the shim does without it. The box starts.
//  - The shim before it has the lease: end-of-file here; the starter, which holds the operation lock, takes the lease and writes
//    the exit record with the reason.
//  - The shim later: the lease's record has this generation and there is no exit record: "crashed".
// An undone start needs no undoing: the next one takes the next generation, and a shim of this one that should still be on its
// way finds that out when it has the lease.
#include "runtime/start.h"
#include "image/box_archive.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>

#include "base/defer.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/process.h"
#include "base/sys.h"
#include "runtime/box_cgroup.h"
#include "runtime/box_config.h"
#include "runtime/box_error.h"
#include "runtime/capture.h"
#include "runtime/checkpoint.h"
#include "runtime/exit_record.h"
#include "runtime/host.h"
#include "runtime/host_room.h"
#include "runtime/isolation.h"
#include "runtime/last_words.h"
#include "runtime/lease.h"
#include "runtime/line_channel.h"
#include "runtime/observe.h"
#include "runtime/owner.h"
#include "runtime/ping.h"
#include "runtime/programs.h"
#include "runtime/removal.h"
#include "runtime/session_client.h"
#include "runtime/shim_kill.h"
#include "runtime/snapshot.h"
#include "runtime/templates.h"
#include "vmm/host_clock.h"

namespace boxlite {
namespace {

using Clock = std::chrono::steady_clock;

// From the configuration to the lease a shim does next to nothing. More than this means that it is stopped or stuck.
constexpr auto kLeaseTimeout = std::chrono::seconds(60);
constexpr auto kStartAnswerTimeout = std::chrono::seconds(2);
constexpr auto kReapTimeout = std::chrono::seconds(5);
constexpr std::string_view kReport = "the shim's report";

// Everything about the host that a start needs and that may take long: found before any lock is taken.
struct Host {
  StartPrograms programs;
  vmm::Accelerator accelerator = vmm::Accelerator::kTcg;
  std::uint64_t tsc_khz = 0;
  std::vector<IsolationLayer> isolation;
  std::string cgroup_place;
  std::string boot;
};

Result<Host> find_host(const Context& context) {
  Host host;
  TRY_ASSIGN(host.programs, find_start_programs());
  TRY_ASSIGN(const vmm::AcceleratorChoice choice, choose_host_accelerator(context, host.programs));
  host.accelerator = choice.accelerator;
  const IsolationFacts facts = isolation_facts(choice);
  host.isolation = isolation_layers(facts);
  host.cgroup_place = facts.cgroup_place;
  if (host.accelerator == vmm::Accelerator::kTcg) {
    TRY_ASSIGN(host.tsc_khz, vmm::cached_tsc_khz(context.paths.tsc_memo()));
  }
  TRY_ASSIGN(host.boot, boot_id());
  return host;
}

enum class WaitOutcome { kRuns, kEnded };

// Another command has started the box, or it is being stopped: waits until either is over.
Result<WaitOutcome> wait_while_changing(const Context& context, const BoxRow& row) {
  for (;;) {
    TRY_ASSIGN(const Observation seen, observe(context.paths, context.database, row));
    const DerivedStatus derived = derive_status(seen);
    if (derived.status == BoxStatus::kRunning) {
      const PingAnswer answer = ping_shims({context.paths.box(row.id)}, Clock::now() + kStartAnswerTimeout).front();
      if (answer.paused_by_user) return std::unexpected(paused_error(row.name));
      return WaitOutcome::kRuns;
    }
    TRY_ASSIGN(const std::optional<UniqueFd> shim, open_lease_holder(context.paths, row.id));
    if (!shim) return WaitOutcome::kEnded;
    // The phase is a file, the shim's end a descriptor: the one is looked at often while the other is waited for.
    TRY(wait_process_end(shim->get(), std::chrono::milliseconds(20)));
  }
}

// The operation lock of a box that does not run; nullopt: it runs already, there is nothing to do.
Result<std::optional<OpLock::Locked>> lock_for_start(Context& context, const std::string& id) {
  std::uint64_t awaited = 0;
  for (;;) {
    TRY_ASSIGN(OpLock::Locked locked, OpLock::acquire(context.paths, context.database, id));
    if (locked.row.remove_intent) {
      locked.lock.release();
      TRY(remove_box(context.paths, context.database, id, false));
      return fail(ErrorCode::kNotFound, "box {} was being removed; its removal is finished now", locked.row.name);
    }
    TRY_ASSIGN(const LeaseState lease, probe_lease(context.paths, id));
    if (!lease.held) {
      if (awaited == locked.row.generation && awaited != 0) {
        // The start that was waited for has come to its end before it could be seen running.
        TRY_ASSIGN(const Observation seen, observe(context.paths, context.database, locked.row));
        const DerivedStatus derived = derive_status(seen);
        if (derived.status == BoxStatus::kFailed)
          return fail(ErrorCode::kInternal, "box {}: another command's start of it failed: {}; try again", locked.row.name,
                      derived.reason);
        return std::nullopt;
      }
      return std::optional(std::move(locked));
    }
    TRY_ASSIGN(const Observation seen, observe(context.paths, context.database, locked.row));
    if (derive_status(seen).status == BoxStatus::kStarting) awaited = locked.row.generation;
    locked.lock.release();
    TRY_ASSIGN(const WaitOutcome outcome, wait_while_changing(context, locked.row));
    if (outcome == WaitOutcome::kRuns) return std::nullopt;
  }
}

vmm::VmConfig vm_config(const Context& context, const Host& host, const BoxRow& row, const BoxOptions& options) {
  vmm::VmConfig vm;
  vm.accelerator = host.accelerator;
  vm.cpus = options.cpus;
  vm.memory_mib = options.memory_mib;
  vm.kernel = host.programs.kernel;
  vm.initramfs = host.programs.initramfs;
  vm.base_image = context.paths.base(row.image_id);
  vm.overlay = context.paths.disk(row.id);
  vm.tsc_khz = host.tsc_khz;
  return vm;
}

// The image's own, and a shell.
std::vector<std::string> likely_commands(const Context& context, const BoxRow& row) {
  std::vector<std::string> commands = {"sh"};
  const auto images = context.database.images();
  if (!images) return commands;
  const auto image = std::ranges::find(*images, row.image_id, &ImageInfo::id);
  if (image == images->end()) return commands;
  for (const std::vector<std::string>& words : {image->config.entrypoint, image->config.cmd}) {
    if (!words.empty()) commands.push_back(words.front());
  }
  return commands;
}

// What the box's VM can go on from. nullopt: it boots.
std::optional<Template> template_for(const Context& context, const Host& host, const std::string& id) {
  if (context.cold_start) return std::nullopt;
  const auto row = context.database.box(id);
  if (!row || !*row) return std::nullopt;
  // Of a box that runs already, or is paused, nothing comes of a start.
  const auto lease = probe_lease(context.paths, id);
  if (!lease) return std::nullopt;
  if (lease->held) {
    const auto seen = observe(context.paths, context.database, **row);
    if (!seen) return std::nullopt;
    const BoxStatus status = derive_status(*seen).status;
    if (status == BoxStatus::kRunning || status == BoxStatus::kPaused) return std::nullopt;
  }
  const auto config = box_config_from_json((*row)->config);
  if (!config) return std::nullopt;
  TemplateWish wish;
  wish.vm = vm_config(context, host, **row, config->options);
  const auto base = sys::stat(wish.vm.base_image);
  if (!base) return std::nullopt;
  wish.nic = config->options.network != "none";
  wish.disk_bytes = std::max(config->options.disk_bytes, static_cast<std::uint64_t>(base->st_size));
  wish.privileged = config->options.privileged;
  const std::string directory = context.paths.box(id);
  if (has_checkpoint(directory)) return std::nullopt;
  if ((*row)->generation == 0 && layers_in(directory).empty()) {
    wish.image_id = (*row)->image_id;
    wish.commands = likely_commands(context, **row);
  }
  return ensure_template(context.paths, host.programs, host.boot, wish);
}

Result<ShimConfig> shim_config(const Context& context, const Host& host, const BoxRow& row, const StartOptions& options) {
  TRY_ASSIGN(const BoxSecrets secrets, read_secrets(context.paths.secrets(row.id)));
  ShimConfig config;
  TRY_ASSIGN(config.box, box_config_from_json(row.config));
  config.home = context.paths.home();
  config.box_id = row.id;
  config.owner_bound = options.ownership == Ownership::kOwnerBound;
  config.attach = options.attach;
  config.env = merge_env(secrets.image_env, secrets.env);
  config.rows = options.rows;
  config.columns = options.columns;
  config.vm = vm_config(context, host, row, config.box.options);
  config.isolation = host.isolation;
  config.cgroup_place = host.cgroup_place;
  if (config.box.options.security == "strict") TRY(require_all(host.isolation));
  TRY(check_room(config.home, config.vm.memory_mib));
  config.vm.layers = layers_in(context.paths.box(row.id));
  TRY(check_stack(row, config.vm.overlay, config.vm.layers));
  config.programs = host.programs.vm;
  config.net_program = host.programs.net;
  if (::access(config.vm.base_image.c_str(), R_OK) < 0) {
    const std::string advice = row.image_id.starts_with(image::kImportedBase)
                                   ? "import the box again"
                                   : "get it again: boxlite pull " + row.image_reference;
    return fail_errno("the base disk of image {} ({}); {}", row.image_reference, config.vm.base_image, advice);
  }
  return config;
}

// What a box's own checkpoint adds to that; nothing where there is none.
Result<void> add_checkpoint(const Context& context, const Host& host, const BoxRow& row, ShimConfig& config) {
  const std::string directory = context.paths.box(row.id);
  TRY_ASSIGN(const std::optional<CheckpointRecord> record, read_checkpoint(directory));
  if (!record) return {};
  TRY_ASSIGN(const Json here, describe_machine({.qemu = host.programs.vm.qemu,
                                                .accelerator = to_string(host.accelerator),
                                                .cpus = config.vm.cpus,
                                                .memory_mib = config.vm.memory_mib,
                                                .nic = config.box.options.network != "none",
                                                .tsc_khz = host.tsc_khz}));
  if (!record->boot_id.empty() && record->boot_id != host.boot)
    return fail(ErrorCode::kUnsupported, "it was forked, and the host went down before it was started");
  TRY(check_machine(record->machine, here));
  TRY(check_files(directory, *record));
  config.vm.memory_file = vmm::MemoryFile{.path = directory + "/memory", .shared = false};
  config.vm.device_state = directory + "/device-state";
  config.vm.stand_still = true;
  config.resume = ResumeRecord{
      .stdout_offset = record->stdout_offset, .stderr_offset = record->stderr_offset, .another_box = record->box_id != row.id};
  return {};
}

// What the memory of a start before lay on, and what was left of a checkpoint that was being taken.
Result<void> remove_old_memory(const std::string& directory) {
  // A command may still be at work on what it has captured of the run before.
  if (!capture_leftovers(directory).empty()) {
    TRY_ASSIGN(const std::optional<OfdLock> lock, try_lock_checkpoints(directory));
    if (lock) TRY(remove_capture_leftovers(directory));
  }
  TRY(sys::unlink(directory + "/device-state"));
  return sys::unlink(directory + "/memory");
}

// Also where /proc tells this user nothing about a box's processes, which are not to be looked into.
std::string box_with_port(const Context& context, const PublishedPort& taken) {
  const auto rows = context.database.boxes();
  if (!rows) return "";
  const auto any = [](const std::string& ip) { return ip == "0.0.0.0" || ip == "::"; };
  for (const BoxRow& row : *rows) {
    const auto seen = observe(context.paths, context.database, row);
    if (!seen || !seen->lease.held || !seen->state) continue;
    for (const PublishedPort& port : seen->state->ports) {
      const bool same_ip = port.host_ip == taken.host_ip || any(port.host_ip) || any(taken.host_ip);
      if (port.host_port == taken.host_port && port.protocol == taken.protocol && same_ip) return "box " + row.name;
    }
  }
  return "";
}

std::vector<std::string> shim_environment() {
  std::vector<std::string> environment;
  const auto pass_on = [&](const char* name) {
    const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): read only
    if (value != nullptr) environment.push_back(fmt::format("{}={}", name, value));
  };
  pass_on("PATH");
#ifdef BOXLITE_WITH_FAILPOINTS
  pass_on("BOXLITE_FAILPOINTS");
  pass_on("BOXLITE_FAILPOINTS_TRACE");
#endif
  return environment;
}

// Begun anew by every start: its last words are quoted as those of this one. The log of the start before stays beside it.
Result<UniqueFd> begin_shim_log(const std::string& path) {
  if (auto kept = sys::rename(path, path + ".1"); !kept && kept.error().error_number() != ENOENT)
    return std::unexpected(kept.error());
  return sys::open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
}

// A report of a failure is returned as that failure.
Result<ShimReport> parse_report(const std::string& line, bool& template_failed, const StartOptions& options) {
  TRY_ASSIGN(const Json json, parse_json(line, kReport));
  if (options.on_step && json.contains("steps")) {
    for (const Json& step : json.at("steps")) {
      if (!step.is_array() || step.size() != 2 || !step.at(0).is_string() || !step.at(1).is_number()) continue;
      options.on_step({step.at(0), Clock::time_point(std::chrono::nanoseconds(step.at(1).get<std::int64_t>()))});
    }
  }
  TRY_ASSIGN(const auto name, json_get<std::string>(json, "report", kReport));
  if (name == "lease") return ShimReport::kLease;
  if (name == "prepared") return ShimReport::kPrepared;
  if (name == "running") return ShimReport::kRunning;
  if (name != "failed") return fail(ErrorCode::kInternal, "{} \"{}\" is not known", kReport, name);
  TRY_ASSIGN(const auto code, json_get<std::string>(json, "code", kReport));
  TRY_ASSIGN(auto message, json_get<std::string>(json, "message", kReport));
  TRY_ASSIGN(template_failed, json_get_or<bool>(json, "template", kReport, false));
  return std::unexpected(Error(error_code_from_name(code), std::move(message)));
}

void note(const StartOptions& options, std::string_view what) {
  if (options.on_step) options.on_step({std::string(what), Clock::now()});
}

// One start, from the intent to the last report.
class Start {
 public:
  Start(Context& context, const Host& host, const StartOptions& options, OpLock::Locked locked, std::optional<Template> from)
      : context_(context),
        host_(host),
        options_(options),
        lock_(std::move(locked.lock)),
        row_(std::move(locked.row)),
        from_(std::move(from)) {
    // Of an image are those for a disk that nobody has written to.
    const std::string directory = context_.paths.box(row_.id);
    if (from_ && !from_->disk.empty() && (row_.generation != 0 || !layers_in(directory).empty())) from_.reset();
    if (has_checkpoint(directory)) from_.reset();
  }

  Result<std::optional<Execution>> run() {
    auto started = run_shim();
    if (started) return std::move(execution_);
    if (lock_) settle(started.error());
    Error error = std::move(started).error().context("start box " + row_.name);
    if (resumes_ && has_checkpoint(context_.paths.box(row_.id))) {
      error = error.advice("its memory is kept: try again; should it never go on from that, it boots without: boxlite start " +
                           discard_memory());
    }
    return std::unexpected(std::move(error));
  }

  /// After a failure: the box could not be restored, which may be the template's fault. Booted, it may start.
  bool template_failed() const { return template_failed_; }

 private:
  Result<void> run_shim() {
    // Before the intent: what fails here leaves the box as it was.
    auto config = configure();
    if (!config) {
      lock_.reset();
      return std::unexpected(std::move(config).error());
    }
    auto ports = bind_ports(config->box.ports, [this](const PublishedPort& taken) { return box_with_port(context_, taken); });
    if (!ports) {
      lock_.reset();
      if (ports.error().code() != ErrorCode::kAlreadyExists) return std::unexpected(std::move(ports).error());
      if (row_.auto_remove) return std::unexpected(ports.error().advice("free it, or publish another"));
      return std::unexpected(ports.error().advice(fmt::format(
          "free it and `boxlite start {}`, or `boxlite rm {}` and publish another: the box is as it was", row_.name, row_.name)));
    }
    std::vector<ForkGuard> guards;
    std::vector<int> listeners;
    for (const BoundPort& bound : *ports) {
      guards.emplace_back(bound.fd.get());
      listeners.push_back(bound.fd.get());
      config->listeners.push_back({.fd = bound.fd.get(), .port = bound.port});
    }
    FAILPOINT("start.bound");
    const bool restored = from_ || config->resume;
    TRY_ASSIGN(row_, context_.database.begin_start(row_.id, {host_.boot, sys::utc_now(), restored}, ::geteuid() == 0));
    config->generation = row_.generation;
    config->vm.uid = row_.uid;
    resumes_ = config->resume.has_value();
    FAILPOINT("start.intent");
    note(options_, "start is recorded");
    // Without the template's disk it boots with its own, which is whole.
    if (from_ && !from_->disk.empty() && !take_disk(*from_)) from_.reset();
    // A checkpoint that is taken of this start needs what its memory lies on, also when nobody else does any more.
    if (from_ && !link_memory(*from_)) from_.reset();
    if (from_) {
      config->vm.memory_file = vmm::MemoryFile{.path = context_.paths.box(row_.id) + "/memory", .shared = false};
      config->vm.device_state = from_->device_state;
      config->vm.process_image = from_->process_image;
    }

    TRY_ASSIGN(sys::SocketPair pair, sys::socket_pair());
    TRY_ASSIGN(const UniqueFd log, begin_shim_log(context_.paths.shim_log(row_.id)));
    TRY_ASSIGN(ChildProcess child, ChildProcess::spawn({.program = host_.programs.shim,
                                                        .argv = {"boxlite-shim", row_.id},
                                                        .environment = shim_environment(),
                                                        .stdin_fd = pair.b.get(),
                                                        .stdout_fd = log.get(),
                                                        .stderr_fd = log.get(),
                                                        .inherit = listeners}));
    // The first process only forks the shim away. The socket is closed before it is reaped: see the order of these.
    const Defer reap([&child] {
      const auto ended = wait_process_end(child.pidfd(), kReapTimeout);
      if (ended && *ended) (void)child.wait();
    });
    UniqueFd socket = std::move(pair.a);
    const ForkGuard guard(socket.get());
    pair.b.reset();
    // From here on they are the shim's alone: with it they go.
    guards.clear();
    ports->clear();
    FAILPOINT("start.spawn");
    note(options_, "shim is started");

    // A shim that ends before it has read everything shows as an end-of-file below, like one that ends later.
    (void)send_line(socket.get(), dump_json(to_json(*config)));
    FAILPOINT("start.config");
    TRY(follow_reports(socket.get()));
    if (options_.ownership == Ownership::kOwnerBound) keep_owner_socket(std::move(socket));
    return {};
  }

  Result<ShimConfig> configure() const {
    const std::string directory = context_.paths.box(row_.id);
    TRY(finish_restore(directory));
    if (options_.discard_memory && has_checkpoint(directory)) {
      TRY(sys::unlink(directory + "/checkpoint.json"));
      TRY(sync_directory(directory));  // the memory must not come back to a disk that has gone on
    }
    TRY_ASSIGN(ShimConfig config, shim_config(context_, host_, row_, options_));
    if (const auto added = add_checkpoint(context_, host_, row_, config); !added) {
      return std::unexpected(
          added.error()
              .context(fmt::format("box {} has the memory of a running machine and cannot go on from it here", row_.name))
              .advice("without its memory it boots with its disk as it is: boxlite start " + discard_memory()));
    }
    if (!config.resume) TRY(remove_old_memory(directory));
    return config;
  }

  std::string discard_memory() const { return "--discard-memory " + row_.name; }

  Result<void> link_memory(const Template& from) const {
    return link_frozen(from.memory, context_.paths.box(row_.id) + "/memory");
  }

  // The disk of the template in the place of the box's own, which is still empty.
  Result<void> take_disk(const Template& from) const {
    const std::string disk = context_.paths.disk(row_.id);
    const std::string copy = fmt::format("{}.{}.tmp", disk, sys::random_hex(6));  // a name that gc knows
    TRY(copy_file(from.disk, copy, 0600));
    Defer discard([&] { (void)sys::unlink(copy); });
    FAILPOINT("start.disk_copied");
    TRY(sys::rename(copy, disk));
    discard.cancel();
    return {};
  }

  Result<void> follow_reports(int socket) {
    LineReader lines(socket);
    for (;;) {
      const auto deadline = lock_ ? std::optional(Clock::now() + kLeaseTimeout) : std::nullopt;
      TRY_ASSIGN(const std::optional<std::string> line, lines.next(deadline));
      if (!line) return lock_ ? died_before_lease() : died_later();
      TRY_ASSIGN(const ShimReport report, parse_report(*line, template_failed_, options_));
      switch (report) {
        case ShimReport::kLease:
          FAILPOINT("start.lease");
          lock_.reset();
          break;
        case ShimReport::kPrepared:
          TRY(attach(socket));
          break;
        case ShimReport::kRunning:
          FAILPOINT("start.running");
          return {};
        case ShimReport::kFailed:
          break;
      }
    }
  }

  Result<void> attach(int socket) {
    FAILPOINT("start.prepared");
    TRY_ASSIGN(execution_, attach_session({context_.paths.box(row_.id), row_.name}, {}));
    return send_line(socket, "go");
  }

  Result<void> died_before_lease() const {
    const std::string words = last_words(context_.paths.shim_log(row_.id), 3);
    return fail(ErrorCode::kInternal, "its shim ended before it began{}{}", words.empty() ? "" : ": ", words);
  }

  // What it wrote before it ended, or what can be derived, tells the reason.
  Result<void> died_later() const {
    TRY_ASSIGN(const std::optional<UniqueFd> shim, open_lease_holder(context_.paths, row_.id));
    if (shim) TRY(wait_process_end(shim->get(), kReapTimeout));
    TRY_ASSIGN(const BoxInfo info, inspect_box(context_.paths, context_.database, row_));
    return fail(ErrorCode::kInternal, "its shim ended during the start: {}",
                info.reason.empty() ? name(info.status) : info.reason);
  }

  // No shim got as far as the lease: this process says what became of the start. Errors here change nothing: without the record
  // the status will be "its start was interrupted".
  void settle(const Error& error) {
    const auto free = lock_->take_lease();
    if (!free || !*free) return;
    ExitRecord record;
    record.generation = row_.generation;
    record.failed = true;
    record.reason = error.message();
    record.finished_at = sys::utc_now();
    (void)write_exit_record(context_.paths, row_.id, record);
    lock_.reset();
    if (row_.auto_remove && !has_checkpoint(context_.paths.box(row_.id)))
      (void)remove_box(context_.paths, context_.database, row_.id, false);
  }

  Context& context_;
  const Host& host_;
  const StartOptions& options_;
  std::optional<OpLock> lock_;  // until the shim has the lease
  BoxRow row_;
  std::optional<Template> from_;
  bool template_failed_ = false;
  bool resumes_ = false;
  std::optional<Execution> execution_;
};

}  // namespace

Result<std::optional<Execution>> start_box(Context& context, const std::string& id, const StartOptions& options) {
  TRY_ASSIGN(const Host host, find_host(context));
  note(options, "host is known");
  const std::optional<Template> from = template_for(context, host, id);
  note(options, from ? "template is there" : "there is no template");
  TRY_ASSIGN(std::optional<OpLock::Locked> locked, lock_for_start(context, id));
  if (!locked) return std::nullopt;
  TRY(wait_vm_gone(context.paths, id));
  TRY(remove_left_cgroup(context.paths, id));
  FAILPOINT("start.locked");
  Start start(context, host, options, std::move(*locked), from);
  auto started = start.run();
  if (started || !start.template_failed()) return started;

  drop_template(context.paths, *from, started.error().message());
  TRY_ASSIGN(const std::optional<UniqueFd> shim, open_lease_holder(context.paths, id));
  if (shim) TRY(wait_process_end(shim->get(), kReapTimeout));
  TRY_ASSIGN(locked, lock_for_start(context, id));
  if (!locked) return std::nullopt;
  TRY(wait_vm_gone(context.paths, id));
  return Start(context, host, options, std::move(*locked), std::nullopt).run();
}

}  // namespace boxlite

// The start of a box, step by step; each ends where the next can begin, and any may be the last. What becomes of a failure:
// shim.cc.
#include <malloc.h>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/unix_socket.h"
#include "runtime/control.h"
#include "runtime/database.h"
#include "runtime/option_values.h"
#include "runtime/session_client.h"
#include "shim/log.h"
#include "shim/shim.h"

namespace boxlite::shim {
namespace {

constexpr auto kLeaseTimeout = std::chrono::seconds(10);  // the box's shim before this one may be ending
constexpr auto kVmLockTimeout = std::chrono::seconds(10);
constexpr std::uint64_t kConsoleLogLimit = 1 * kMiB;
constexpr std::uint64_t kOutputLogLimit = 10 * kMiB;
constexpr std::size_t kEntropyBytes = 64;

Result<void> set_limits(const BoxOptions& options, proto::Configure& configure) {
  for (const std::string& text : options.ulimits) {
    TRY_ASSIGN(const Ulimit limit, parse_ulimit(text));
    proto::Ulimit& ulimit = *configure.add_ulimits();
    ulimit.set_resource(limit.resource);
    ulimit.set_soft(limit.soft);
    ulimit.set_hard(limit.hard);
  }
  TRY_ASSIGN(const CapabilityChange change, capability_change(options.cap_add, options.cap_drop));
  configure.set_added_capabilities(change.add);
  configure.set_dropped_capabilities(change.drop);
  return {};
}

Result<void> set_mounts(const BoxOptions& options, proto::Configure& configure) {
  configure.set_read_only(options.read_only);
  configure.set_shm_bytes(options.shm_bytes);
  for (const auto& [path, text] : options.tmpfs) {
    TRY_ASSIGN(const TmpfsOptions parsed, parse_tmpfs(path, text));
    proto::Tmpfs& tmpfs = *configure.add_tmpfs();
    tmpfs.set_path(path);
    tmpfs.set_read_only(parsed.read_only);
    tmpfs.set_exec(parsed.exec);
    tmpfs.set_suid(parsed.suid);
    tmpfs.set_dev(parsed.dev);
    for (const auto& [key, value] : parsed.settings) (*tmpfs.mutable_settings())[key] = value;
  }
  return {};
}

Result<void> set_names(const std::string& box_id, const BoxOptions& options, proto::Configure& configure) {
  configure.set_hostname(options.hostname.empty() ? box_id : options.hostname);
  for (const std::string& host : options.add_hosts) {
    TRY_ASSIGN(*configure.add_extra_hosts(), hosts_line(host));
  }
  for (std::string& line : resolv_conf_lines(options)) configure.add_resolv_conf(std::move(line));
  return {};
}

Result<proto::Call> configure_call(const ShimConfig& config) {
  const BoxOptions& options = config.box.options;
  proto::Call call;
  proto::Configure& configure = *call.mutable_configure();
  configure.set_privileged(options.privileged);
  configure.set_disk_bytes(options.disk_bytes);
  configure.set_init(options.init);
  TRY(set_names(config.box_id, options, configure));
  TRY(set_mounts(options, configure));
  TRY(set_limits(options, configure));
  std::array<std::byte, kEntropyBytes> entropy;
  sys::random_bytes(entropy);
  configure.set_entropy(entropy.data(), entropy.size());
  *configure.mutable_main() = to_process({.command = config.box.args,
                                          .env = config.env,
                                          .working_dir = config.box.working_dir,
                                          .user = config.box.user,
                                          .tty = options.tty,
                                          .open_stdin = options.open_stdin,
                                          .rows = config.rows,
                                          .columns = config.columns,
                                          .timeout = std::chrono::seconds(options.timeout_seconds)});
  configure.set_host_time_ns(wall_clock_ns());
  return call;
}

}  // namespace

Result<void> Shim::take_lease() {
  // The database is open only here and for a removal: an idle shim needs none of its memory.
  TRY_ASSIGN(const Database database, Database::open(paths_.database()));
  TRY_ASSIGN(lease_, Lease::take(paths_, database, id_, config_.generation, kLeaseTimeout));
  return {};
}

Result<void> Shim::begin() {
  state_.generation = config_.generation;
  state_.accelerator = to_string(config_.vm.accelerator);
  set_phase(Phase::kStarting);
  // Before the lock is asked for and the VM exists: an owner that ends from here on is not missed.
  if (config_.owner_bound) {
    starter_.watch_owner([this] { request_stop(grace(), "the process that started it has ended"); });
  }
  starter_.report(ShimReport::kLease);
  FAILPOINT("shim.leased");

  loop_.on_termination([this] { request_stop(grace(), "its shim was asked to end"); });
  TRY_ASSIGN(output_log_, OutputLogWriter::open(paths_.output_log(id_), kOutputLogLimit));
  TRY_ASSIGN(UniqueFd listener, listen_unix(paths_.box(id_), kPortalSocket));
  TRY(launch_vm());
  FAILPOINT("shim.vm_started");
  server_.emplace(
      loop_, std::move(listener),
      ControlServer::Handler{[this](const Json& call, const Answer& answer) { on_control(call, answer); },
                             [this](UniqueFd client, std::string early) { accept_client(std::move(client), std::move(early)); }});
  return {};
}

Result<void> Shim::launch_vm() {
  // Locked by us, handed over to the VM's processes: held exactly as long as one of them lives.
  TRY_ASSIGN(OfdLock lock, OfdLock::acquire(paths_.vm_lock(id_), kVmLockTimeout));
  TRY_ASSIGN(BoundedLog console_log, BoundedLog::open(paths_.console_log(id_), kConsoleLogLimit));
  TRY_ASSIGN(volumes_, Volumes::launch(loop_, config_, paths_, lock.fd()));
  {
    TRY_ASSIGN(vmm::Vm vm, vmm::Vm::launch(config_.vm, config_.programs, lock.fd()));
    vm_.emplace(std::move(vm));
  }
  lock.hand_over();
  vm_watch_.emplace(loop_, vm_->pidfd());
  vm_watch_->on_readable([this] { on_vm_end(); });
  console_.emplace(loop_, vm_->console_fd(), std::move(console_log));
  complaints_.emplace(loop_, vm_->stderr_fd(), std::nullopt);
  qmp_.emplace(loop_, vm_->qmp_fd());
  link_.emplace(loop_, vm_->portal_fd());
  link_->begin([this] { configure(); },
               [this](const Error& error) { fail_with(error.context("the box's agent broke the protocol")); },
               [this] { on_portal_hangup(); });
  if (!config_.box.mounts.empty()) volumes_->connect(vm_->volumes_fd());
  boot_watch_.emplace(loop_, *vm_, *link_, [this] {
    fail_with(Error(ErrorCode::kUnavailable,
                    fmt::format("its guest does not answer after {} s of CPU time{}", BootWatch::kLimitMs / 1000, last_words())));
  });
  return {};
}

void Shim::configure() {
  if (stop_requested_) return;
  auto call = configure_call(config_);
  if (!call) return fail_with(call.error().context("prepare the box"));
  volumes_->describe(*call->mutable_configure());
  // Not needed again, and the environment is secret.
  config_.box.args = {};
  config_.env = {};
  call_agent(*link_, *call, [this](Result<proto::Reply> reply) {
    if (over()) return;
    if (!reply) return fail_with(reply.error().context("prepare the box"));
    configured_ = true;
    volumes_->configured();
    if (stop_requested_) return stop_sequence_.shut_down();
    view_output();
  });
  ::malloc_trim(0);
}

void Shim::view_output() {
  view_main(*link_,
            {.on_attached =
                 [this](Result<void> attached) {
                   if (over() || stop_requested_) return;
                   fail_unless(attached ? prepared() : std::unexpected(attached.error().context("attach to the main command")));
                 },
             .on_output = [this](OutputStream stream, std::string_view data) { on_output(stream, data); },
             .on_exited = [this](const ExitInfo& info) { on_exited(info); },
             .on_lost =
                 [this](const Error& error) {
                   if (!over()) fail_with(error.context("the main command's output"));
                 }});
}

Result<void> Shim::prepared() {
  FAILPOINT("shim.prepared");
  if (!config_.attach) {
    start_main();
    return {};
  }
  starter_.on_go([this] { start_main(); });
  starter_.report(ShimReport::kPrepared);
  return {};
}

void Shim::start_main() {
  if (over() || stop_requested_) return;
  proto::Call call;
  call.mutable_start_main();
  call_agent(*link_, call, [this](Result<proto::Reply> reply) {
    if (over()) return;
    if (!reply) return fail_with(reply.error());
    fail_unless(running());
  });
}

Result<void> Shim::running() {
  main_started_ = true;
  boot_watch_.reset();
  state_.started_at = sys::utc_now();
  set_phase(stop_requested_ || exited_ ? Phase::kStopping : Phase::kRunning);
  FAILPOINT("shim.running");
  starter_.report(ShimReport::kRunning);
  starter_.close();
  if (stop_requested_) stop_sequence_.shut_down();
  auto watch = ClockWatch::begin(loop_, [this] { set_guest_clock(); });
  if (!watch) {
    log("the guest's clock will not follow a suspended host: {}", watch.error().message());
    return {};
  }
  clock_watch_ = std::move(*watch);
  return {};
}

}  // namespace boxlite::shim

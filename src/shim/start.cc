// The start of a box, step by step; each ends where the next can begin, and any may be the last. What becomes of a failure:
// shim.cc.
#include <malloc.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/unix_socket.h"
#include "net/addresses.h"
#include "runtime/box_cgroup.h"
#include "runtime/control.h"
#include "runtime/database.h"
#include "runtime/exit_record.h"
#include "runtime/option_values.h"
#include "runtime/resolv_conf.h"
#include "runtime/session_client.h"
#include "shim/confinement.h"
#include "shim/device_state.h"
#include "shim/log.h"
#include "shim/shim.h"
#include "vmm/jail.h"

namespace boxlite::shim {
namespace {

constexpr auto kLeaseTimeout = std::chrono::seconds(10);  // the box's shim before this one may be ending
constexpr auto kVmLockTimeout = std::chrono::seconds(10);
constexpr auto kImagePatience = std::chrono::seconds(60);  // it takes milliseconds
constexpr auto kBusyHost = std::chrono::seconds(1);        // the time that went along with a call may be past by then
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

Result<void> set_mounts(const BoxConfig& box, proto::Configure& configure) {
  const BoxOptions& options = box.options;
  *configure.mutable_directories() = {box.directories.begin(), box.directories.end()};
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
  if (options.host_access) configure.add_extra_hosts(fmt::format("{}\t{}", net::kHostAlias4.text(), net::kHostName));
  const HostResolver host = host_resolver();
  for (std::string& line : resolv_conf_lines(options, host.domains)) configure.add_resolv_conf(std::move(line));
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
  TRY(set_mounts(config.box, configure));
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
  state_.isolation = config_.isolation;
  state_.cgroup_place = config_.cgroup_place;
  for (const ListenerRecord& listener : config_.listeners) state_.ports.push_back(listener.port);
  TRY(reserve_exit_record(paths_, id_));
  TRY(set_phase(Phase::kStarting));
  // Before the lock is asked for and the VM exists: an owner that ends from here on is not missed.
  if (config_.owner_bound) {
    starter_.watch_owner([this] { request_stop(grace(), "the process that started it has ended"); });
  }
  starter_.report(ShimReport::kLease);
  FAILPOINT("shim.leased");
  audit_.started(config_);

  loop_.on_termination([this] { request_stop(grace(), "its shim was asked to end"); });
  TRY_ASSIGN(output_log_, OutputLogWriter::open(paths_.output_log(id_), kOutputLogLimit));
  TRY_ASSIGN(UniqueFd listener, listen_unix(paths_.box(id_), kPortalSocket));
  if (config_.box.options.auto_remove) {
    TRY_ASSIGN(remover_, Remover::start(paths_, id_));
  }
  TRY(launch_vm());
  FAILPOINT("shim.vm_started");
  server_.emplace(loop_, std::move(listener),
                  ControlServer::Handler{
                      [this](const Json& call, const Answer& answer) { on_control(call, answer); },
                      [this](UniqueFd client, std::string early) { accept_client(std::move(client), std::move(early)); },
                      [this](UniqueFd client, std::string early) { accept_capture(std::move(client), std::move(early)); }});
  // Nothing that the box's processes say has been read yet.
  return confine(files_in_use(paths_, id_, config_.box.mounts, cgroup_ ? cgroup_->path() : ""));
}

Result<void> Shim::launch_vm() {
  // Locked by us, handed over to the VM's processes: held exactly as long as one of them lives.
  TRY_ASSIGN(OfdLock lock, OfdLock::acquire(paths_.vm_lock(id_), kVmLockTimeout));
  FAILPOINT("shim.vm_locked");
  TRY_ASSIGN(BoundedLog console_log, BoundedLog::begin(paths_.console_log(id_), kConsoleLogLimit));
  TRY_ASSIGN(const struct stat base, sys::stat(config_.vm.base_image));
  config_.vm.disk_bytes = std::max(config_.box.options.disk_bytes, static_cast<std::uint64_t>(base.st_size));
  UniqueFd cgroup;
  if (!config_.cgroup_place.empty()) {
    TRY_ASSIGN(const std::string path, box_cgroup(paths_, id_, config_.cgroup_place));
    TRY_ASSIGN(cgroup_, vmm::VmCgroup::create(path, vmm::cgroup_limits(config_.vm, config_.box.mounts.size())));
    TRY_ASSIGN(cgroup, cgroup_->open());
  }
  TRY_ASSIGN(volumes_, Volumes::launch(loop_, config_, paths_, lock.fd(), cgroup.get()));
  FAILPOINT("shim.volumes_served");
  vmm::Nic nic;
  if (config_.box.options.network != "none") {
    const Network::Events events = {.failed = [this](const Error& error) { fail_with(error); },
                                    .denied = [this](std::string_view what) { audit_.denied(what); }};
    TRY_ASSIGN(network_, Network::launch(loop_, config_, paths_, lock.fd(), cgroup.get(), events));
    nic = network_->nic();
    FAILPOINT("shim.network_started");
  }
  {
    vm_begun_ = true;
    TRY_ASSIGN(vmm::Vm vm, vmm::Vm::launch(config_.vm, config_.programs, lock.fd(), nic, cgroup.get()));
    vm_.emplace(std::move(vm));
  }
  if (network_) network_->nic_taken();
  lock.hand_over();
  vm_watch_.emplace(loop_, vm_->pidfd());
  vm_watch_->on_readable([this] { on_vm_end(); });
  console_.emplace(loop_, vm_->console_fd(), std::move(console_log));
  complaints_.emplace(loop_, vm_->stderr_fd(), std::nullopt);
  const bool from_image = !config_.vm.process_image.empty();
  qmp_.emplace(loop_, vm_->qmp_fd(), from_image);
  qmp_->on_full_disk([this] { on_full_disk(); });
  link_.emplace(loop_, vm_->portal_fd());
  if (from_image) begin_from_image();
  if (vm_->device_state_fd() >= 0) {
    LoadEvents events = {.on_failed = [this](const Error& error) { fail_with(error.context("restore the VM")); }};
    if (config_.resume) {
      events.on_loaded = [this] {
        if (!over() && !stop_requested_) fail_unless(use_up_checkpoint());
      };
    }
    load_device_state(*qmp_, vm_->device_state_fd(), std::move(events));
  }
  starter_.note(config_.vm.device_state.empty() ? "VM begins to boot" : "VM begins to be restored");
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

// Whatever is wrong with it may as well make it wait as be busy, which the watch of a boot looks for.
void Shim::begin_from_image() {
  image_deadline_.start(kImagePatience, [this] {
    fail_with(Error(ErrorCode::kUnavailable,
                    fmt::format("its QEMU, made of an image, does not answer within {} s", kImagePatience.count())));
  });
  qmp_->execute("cont", Json::object(), [this](const Result<Json>& reply) {
    image_deadline_.stop();
    // That it has ended is told elsewhere, and why.
    if (!reply && !over() && reply.error().code() != ErrorCode::kUnavailable)
      fail_with(reply.error().context("go on from the image of QEMU"));
  });
}

// A box that runs waits for space: it would lose what it has in memory. One that starts has nothing there yet, and somebody waits
// for it, whom nothing would tell why; except a box that goes on from a checkpoint, which is in this memory alone by now.
void Shim::on_full_disk() {
  if (main_started_ || stop_requested_ || over() || checkpoint_used_) return;
  fail_with(
      Error(ErrorCode::kResourceExhausted, fmt::format("the disk that holds {} is full; free some space there", paths_.home())));
}

// The disk is the memory's as long as nothing runs. From here on it is not.
Result<void> Shim::use_up_checkpoint() {
  FAILPOINT("resume.loaded");
  const std::string directory = paths_.box(id_);
  TRY(sys::unlink(directory + "/checkpoint.json"));
  TRY(sys::unlink(directory + "/device-state"));
  TRY(sync_directory(directory));
  checkpoint_used_ = true;
  FAILPOINT("resume.used");
  qmp_->let_go();
  return {};
}

void Shim::configure() {
  answered_ = true;
  starter_.note("agent answers");
  if (stop_requested_) return;
  if (config_.resume) return adopt();
  auto call = configure_call(config_);
  if (!call) return fail_with(call.error().context("prepare the box"));
  volumes_->describe(*call->mutable_configure());
  if (network_) Network::describe(*call->mutable_configure());
  // Not needed again, and the environment is secret.
  config_.box.args = {};
  config_.env = {};
  call_agent(*link_, *call, [this, sent = std::chrono::steady_clock::now()](Result<proto::Reply> reply) {
    if (over()) return;
    if (!reply) return fail_with(reply.error().context("prepare the box"));
    configured_ = true;
    if (std::chrono::steady_clock::now() - sent > kBusyHost) set_guest_clock();
    starter_.note("container is built");
    if (const auto populated = volumes_->configured(); !populated)
      return fail_with(populated.error().context("fill its volumes"));
    if (stop_requested_) return stop_sequence_.shut_down();
    if (viewed_) fail_unless(prepared());
  });
  // The agent answers in order: its session is there when this is read.
  view_output();
  ::malloc_trim(0);
}

// In place of configure(): the container is there, its processes are frozen.
void Shim::adopt() {
  auto identity = configure_call(config_);
  if (!identity) return fail_with(identity.error().context("prepare the box"));
  if (network_) Network::describe(*identity->mutable_configure());
  config_.env = {};
  proto::Call call;
  *call.mutable_adopt()->mutable_identity() = identity->configure();
  call.mutable_adopt()->set_another_box(config_.resume->another_box);
  call_agent(*link_, call, [this, sent = std::chrono::steady_clock::now()](const Result<proto::Reply>& reply) {
    if (over()) return;
    if (!reply) return fail_with(reply.error().context("restore the box"));
    configured_ = true;
    if (std::chrono::steady_clock::now() - sent > kBusyHost) set_guest_clock();
    starter_.note("box is told who it is");
    if (stop_requested_) return stop_sequence_.shut_down();
    if (viewed_) fail_unless(prepared());
  });
  output_read_ = {config_.resume->stdout_offset, config_.resume->stderr_offset};
  view_output();
}

void Shim::view_output() {
  view_main(
      *link_, output_read_[0], output_read_[1],
      {.on_attached =
           [this](Result<void> attached) {
             if (over() || stop_requested_) return;
             if (!attached) return fail_with(attached.error().context("attach to the main command"));
             viewed_ = true;
             if (configured_) fail_unless(prepared());
           },
       .on_output = [this](OutputStream stream, std::uint64_t offset, std::string_view data) { on_output(stream, offset, data); },
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
  if (config_.resume) {
    call.mutable_thaw();
  } else {
    call.mutable_start_main();
  }
  call_agent(*link_, call, [this](Result<proto::Reply> reply) {
    if (over()) return;
    if (!reply) return fail_with(reply.error());
    fail_unless(running());
  });
}

Result<void> Shim::running() {
  boot_watch_.reset();
  state_.started_at = sys::utc_now();
  // A box that cannot be told to run would be waited for as one that starts, for ever.
  starter_.note("command runs");
  TRY(set_phase(stop_requested_ || exited_ ? Phase::kStopping : Phase::kRunning));
  main_started_ = true;
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

#include "agent/agent.h"

#include <fcntl.h>
#include <linux/random.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <ctime>
#include <span>
#include <utility>
#include <vector>

#include "agent/boot.h"
#include "agent/cgroup.h"
#include "agent/connections.h"
#include "agent/container_root.h"
#include "agent/device_policy.h"
#include "agent/identity.h"
#include "agent/network.h"
#include "agent/process_list.h"
#include "agent/process_scan.h"
#include "agent/root_disk.h"
#include "agent/volume_pump.h"
#include "agent/warm.h"
#include "base/process.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

using std::chrono::milliseconds;

constexpr const char* kMain = "main";
constexpr std::size_t kMaxRunning = 1024;
constexpr std::size_t kMaxEnded = 128;
constexpr std::size_t kMaxEndedOutput = std::size_t{16} * 1024 * 1024;
constexpr std::size_t kMaxEntropy = 4096;
constexpr milliseconds kGrace{5'000};  // for a host that has everything and does not close its streams
constexpr milliseconds kKillDeadline{10'000};
constexpr milliseconds kGraceAfterTimeout{2'000};
constexpr int kTimeoutCode = 124;  // timeout(1)'s
constexpr std::size_t kMaxNamedSessions = 8;

Result<void> set_clock(std::uint64_t host_time_ns) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  const timespec now = {static_cast<time_t>(host_time_ns / kSecond), static_cast<long>(host_time_ns % kSecond)};
  if (::clock_settime(CLOCK_REALTIME, &now) < 0) return fail_errno("set the clock");
  return {};
}

// What the kernel has drawn from the host and handed to nobody yet is in the memory of other boxes too: a cache line of its own
// (drivers/char/hw_random/core.c) and one of virtio-rng's driver.
void discard_drawn() {
  std::array<std::byte, 64> line;
  const auto generator = sys::open("/dev/hwrng", O_RDONLY | O_NONBLOCK);
  if (!generator) return;
  for (std::size_t left = 2 * line.size(); left > 0;) {
    const auto count = sys::read(generator->get(), std::span(line).first(std::min(left, line.size())));
    if (!count || *count == 0) return;  // there is none
    left -= *count;
  }
}

Result<void> add_entropy(std::string_view bytes) {
  discard_drawn();
  if (bytes.size() < 32 || bytes.size() > kMaxEntropy) {
    return fail(ErrorCode::kInvalidArgument, "{} bytes of entropy; 32 to {} are needed", bytes.size(), kMaxEntropy);
  }
  std::vector<int> buffer(2 + (bytes.size() + sizeof(int) - 1) / sizeof(int));  // struct rand_pool_info
  buffer[0] = static_cast<int>(bytes.size() * 8);
  buffer[1] = static_cast<int>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(&buffer[2]));
  TRY_ASSIGN(const UniqueFd random, sys::open("/dev/urandom", O_RDWR));
  if (::ioctl(random.get(), RNDADDENTROPY, buffer.data()) < 0) return fail_errno("add entropy");
  if (::ioctl(random.get(), RNDRESEEDCRNG) < 0) return fail_errno("reseed");
  return {};
}

// As docker does: any user of a container may bind low ports and send pings; the network namespace is the container's alone.
Result<void> set_network_defaults() {
  for (const auto& [path, text] : {std::pair("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
                                   std::pair("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")}) {
    TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_WRONLY));
    TRY(sys::write_all(fd.get(), text));
  }
  return {};
}

ExitStatus status_of(int wait_status) {
  if (WIFSIGNALED(wait_status)) return {128 + WTERMSIG(wait_status), WTERMSIG(wait_status)};
  return {WEXITSTATUS(wait_status), 0};
}

}  // namespace

Agent::Agent(EventLoop& loop, UniqueFd port, UniqueFd child_signals)
    : loop_(loop),
      child_signals_(std::move(child_signals)),
      freezer_(loop),
      calls_(loop, std::move(port), [this](const Caller& caller, const proto::Call& call) { handle(caller, call); }) {}

Result<void> Agent::run() {
  TRY(loop_.watch(child_signals_.get(), EPOLLIN, [this](std::uint32_t) { reap(); }));
  TRY(calls_.start());
  while (!time_to_power_off()) {
    TRY(loop_.turn());
    calls_.flush();
    if (main_ && main_->has_exited()) kept_namespaces_.clear();
  }
  calls_.drain(milliseconds(1000));
  // The host may have had it frozen, for a snapshot, when the command ended.
  if (auto thawed = freezer_.thaw(); !thawed) say(thawed.error().message());
  if (disk_mounted_) TRY(seal_root_disk());
  return {};
}

void Agent::handle(const Caller& caller, const proto::Call& call) {
  // A call that succeeds and is answered later returns ok here and replies itself.
  Result<void> result;
  bool answered_later = false;
  switch (call.call_case()) {
    case proto::Call::kConfigure:
      result = configure(caller, call.configure());
      answered_later = true;
      break;
    case proto::Call::kStartMain:
      result = start_main(caller);
      answered_later = true;
      break;
    case proto::Call::kExec:
      result = exec(caller, call.exec());
      answered_later = true;
      break;
    case proto::Call::kCopyOut:
      result = copy(caller, copy_job(call.copy_out()));
      answered_later = true;
      break;
    case proto::Call::kCopyIn:
      result = copy(caller, copy_job(call.copy_in()));
      answered_later = true;
      break;
    case proto::Call::kTunnel:
      result = tunnel(caller, call.tunnel());
      answered_later = true;
      break;
    case proto::Call::kAttach:
      result = attach(caller, call.attach());
      answered_later = true;
      break;
    case proto::Call::kSignal:
      result = signal(call.signal());
      break;
    case proto::Call::kResize:
      result = resize(call.resize());
      break;
    case proto::Call::kShutdown:
      shut_down();
      break;
    case proto::Call::kPing:
      break;
    case proto::Call::kPrepare:
      result = prepare(caller, call.prepare());
      answered_later = true;
      break;
    case proto::Call::kSetClock:
      result = set_clock(call.set_clock().host_time_ns());
      break;
    case proto::Call::kFreeze:
      result = freeze(caller, call.freeze());
      answered_later = true;
      break;
    case proto::Call::kThaw:
      result = freezer_.thaw();
      break;
    case proto::Call::kAdopt:
      result = adopt(call.adopt());
      break;
    case proto::Call::kListProcesses:
      result = tell_processes(caller);
      answered_later = true;
      break;
    case proto::Call::kGetUsage:
      result = tell_usage(caller);
      answered_later = true;
      break;
    case proto::Call::kServeVolume:  // for the pump, on the volumes' own link
    case proto::Call::CALL_NOT_SET:
      result = fail(ErrorCode::kUnsupported, "this agent does not know the call; the box was started by an older boxlite");
      break;
  }
  if (!result || !answered_later) calls_.reply(caller, result);
}

// ---- The container

Result<void> Agent::prepare(const Caller& caller, const proto::Prepare& call) {
  if (state_ != State::kFresh || disk_mounted_) return fail(ErrorCode::kInvalidState, "the box is prepared already");
  TRY(lay_ground(call.disk_bytes()));
  warm_page_cache({call.commands().begin(), call.commands().end()});
  const auto rehearsed = [this, caller, privileged = call.privileged()](const Result<void>& result) {
    rehearsal_.reset();
    if (!result) say("rehearsal: " + result.error().message());  // what comes is slower, or fails in the same way
    auto begun = remove_container_cgroup();
    if (begun) begun = build_container(privileged);
    if (!begun) return calls_.reply(caller, begun);
    built_->reader->on_built([this, caller] { calls_.reply(caller, {}); });
    built_->reader->on_end([this, caller](const Result<void>& ended) {
      calls_.reply(caller,
                   ended ? fail(ErrorCode::kInternal, "the container's first process died while it was being built") : ended);
    });
  };
  TRY(make_cgroup(call.privileged()));
  TRY_ASSIGN(rehearsal_, Rehearsal::begin(loop_, call.privileged(), rehearsed));
  return {};
}

Result<void> Agent::lay_ground(std::uint64_t disk_bytes) {
  TRY(mount_root_disk(disk_bytes));
  disk_mounted_ = true;
  return set_network_defaults();
}

Result<void> Agent::make_cgroup(bool privileged) {
  TRY(create_container_cgroup());
  if (privileged) return {};
  TRY_ASSIGN(const UniqueFd cgroup, open_container_cgroup());
  return restrict_devices(cgroup.get());
}

// What is the same for every box.
Result<void> Agent::build_container(bool privileged) {
  TRY(make_cgroup(privileged));
  TRY_ASSIGN(pty_mount_, new_terminals());
  TRY_ASSIGN(Launched container, launch_container(privileged, pty_mount_.get()));
  for (const char* kind : {"mnt", "ipc"}) {
    TRY_ASSIGN(UniqueFd kept, sys::open(fmt::format("/proc/{}/ns/{}", container.pid, kind), O_RDONLY));
    kept_namespaces_.push_back(std::move(kept));
  }
  auto reader = std::make_unique<ReportReader>(loop_, std::move(container.report), ReportReader::Handler());
  TRY(reader->start());
  built_.emplace(Built{privileged, std::move(container), std::move(reader)});
  return {};
}

Result<void> Agent::configure(const Caller& caller, const proto::Configure& call) {
  if (state_ != State::kFresh) return fail(ErrorCode::kInvalidState, "the box is configured already");
  if (rehearsal_) return fail(ErrorCode::kInvalidState, "the box is being prepared");
  TRY_ASSIGN(options_, parse_container(call));
  TRY_ASSIGN(main_command_, parse_command(call.main()));
  state_ = State::kConfiguring;
  TRY(set_clock(call.host_time_ns()));
  TRY(add_entropy(call.entropy()));
  if (!built_) {
    TRY(lay_ground(options_.disk_bytes));
    TRY(build_container(options_.privileged));
  }
  if (built_->privileged != options_.privileged)
    return fail(ErrorCode::kInvalidState, "the box was prepared for other privileges");
  if (options_.network) TRY(raise_network(*options_.network));
  TRY_ASSIGN(main_, make_session(kMain, main_command_));
  TRY_ASSIGN(VolumePump pump, start_volume_pump(options_.volumes));
  volume_pump_ = pump.pid;
  Launched container = std::move(built_->container);
  TRY(send_plan(container.plan.get(), call, *main_, options_.volumes));
  pump.clients.clear();  // the container's first process has them
  TRY(adopt_pid_namespace(container.pidfd.get()));
  TRY(main_->started(container.pid, std::move(container.pidfd)));
  running_[container.pid] = main_;
  sessions_[kMain] = main_;
  go_ = std::move(container.plan);
  built_->reader->on_ready([this, caller] {
    state_ = State::kPrepared;
    calls_.reply(caller, {});
  });
  built_->reader->on_built({});
  built_->reader->on_end([this, caller](Result<void> result) {  // before it was ready; start_main() takes over after that
    starting_.erase(main_.get());
    if (result) result = fail(ErrorCode::kInternal, "the container's first process died while it was being built");
    calls_.reply(caller, result);
  });
  starting_[main_.get()] = std::move(built_->reader);
  return {};
}

Result<void> Agent::start_main(const Caller& caller) {
  if (state_ == State::kFresh || state_ == State::kConfiguring) {
    return fail(ErrorCode::kInvalidState, "the box is not configured yet");
  }
  if (state_ != State::kPrepared) return fail(ErrorCode::kInvalidState, "the main command was started already");
  state_ = State::kStarting;
  starting_.at(main_.get())->on_end([this, caller](Result<void> result) {
    starting_.erase(main_.get());
    if (!result) return calls_.reply(caller, result);  // the child exits with 126 or 127, and the box ends with it
    if (state_ == State::kStarting) state_ = State::kRunning;
    limit_time(main_, main_command_.timeout);
    main_->set_pid_in_container(1);
    calls_.reply_started(caller, *main_);
  });
  TRY(sys::write_all(go_.get(), "g"));
  go_.reset();
  return {};
}

Result<void> Agent::exec(const Caller& caller, const proto::Exec& call) {
  if (state_ != State::kRunning) return fail(ErrorCode::kInvalidState, "the main command of the box is not running");
  if (running_.size() >= kMaxRunning) {
    return fail(ErrorCode::kResourceExhausted, "{} commands run in the box; end some of them first", running_.size());
  }
  TRY_ASSIGN(const Command command, parse_command(call.process()));
  std::string id = sys::random_hex(6);
  TRY_ASSIGN(const SessionPtr session, make_session(std::move(id), command));
  TRY_ASSIGN(Launched launched, launch_command(options_, command, *session, main_->pidfd()));
  return begin_session(caller, session, std::move(launched), command.timeout);
}

Result<void> Agent::copy(const Caller& caller, const CopyJob& job) {
  if (state_ != State::kRunning) return fail(ErrorCode::kInvalidState, "the main command of the box is not running");
  if (running_.size() >= kMaxRunning) {
    return fail(ErrorCode::kResourceExhausted, "{} commands run in the box; end some of them first", running_.size());
  }
  Command command;
  command.open_stdin = job.in;
  TRY_ASSIGN(const SessionPtr session, make_session(sys::random_hex(6), command));
  TRY_ASSIGN(Launched launched, launch_copy(job, *session, main_->pidfd()));
  session->end_with_views();
  return begin_session(caller, session, std::move(launched), {});
}

Result<void> Agent::tunnel(const Caller& caller, const proto::Tunnel& call) {
  if (state_ != State::kRunning) return fail(ErrorCode::kInvalidState, "the main command of the box is not running");
  if (running_.size() >= kMaxRunning) {
    return fail(ErrorCode::kResourceExhausted, "{} commands run in the box; end some of them first", running_.size());
  }
  TRY_ASSIGN(const std::uint16_t port, parse_port(call.port()));
  Command command;
  command.open_stdin = true;
  TRY_ASSIGN(const SessionPtr session, make_session(sys::random_hex(6), command));
  TRY_ASSIGN(Launched launched, launch_tunnel(port, *session, main_->pidfd()));
  session->end_with_views();
  return begin_session(caller, session, std::move(launched), {});
}

Result<void> Agent::begin_session(const Caller& caller, const SessionPtr& session, Launched launched, milliseconds timeout) {
  TRY(session->started(launched.pid, std::move(launched.pidfd)));
  running_[launched.pid] = session;
  ReportReader::Handler handler;
  handler.on_end = [this, caller, session, timeout](const Result<void>& result) {
    session->set_pid_in_container(starting_.at(session.get())->pid_in_container());
    starting_.erase(session.get());
    if (!result) return calls_.reply(caller, result);
    sessions_[session->id()] = session;
    if (session->has_exited()) keep_ended(session);
    limit_time(session, timeout);
    calls_.open_view(caller, session, Reader(), false);
    if (session->ends_with_views() && !session->watched()) session->abandon();  // whoever asked has gone
  };
  auto reader = std::make_unique<ReportReader>(loop_, std::move(launched.report), std::move(handler));
  TRY(reader->start());
  starting_[session.get()] = std::move(reader);
  return {};
}

// ---- Sessions

Result<Agent::SessionPtr> Agent::make_session(std::string id, const Command& command) {
  SessionIo io;
  if (command.tty) {
    TRY_ASSIGN(io, SessionIo::terminal(pty_mount_.get(), command));
  } else {
    TRY_ASSIGN(io, SessionIo::pipes(command.open_stdin));
  }
  return std::make_shared<Session>(
      loop_, std::move(id), std::move(io),
      Session::Handler{.on_progress = [this](Session& session) { calls_.session_progressed(session); },
                       .on_input_taken = [this](Session& session) { calls_.session_took_input(session); }});
}

Result<Agent::SessionPtr> Agent::find_session(const std::string& id) const {
  const auto it = sessions_.find(id);
  if (it != sessions_.end()) return it->second;
  // How somebody whose client died with the id finds the session again.
  std::string running;
  std::size_t count = 0;
  for (const auto& [pid, session] : running_) {
    if (session == main_ || !sessions_.contains(session->id())) continue;
    if (++count <= kMaxNamedSessions) running += (running.empty() ? "; these run: " : ", ") + session->id();
  }
  if (count > kMaxNamedSessions) running += ", …";
  return fail(ErrorCode::kNotFound, "it has no session \"{}\"{}", id.substr(0, 64),
              count == 0 ? "; no command of exec runs in it" : running);
}

Result<void> Agent::signal_all(const Session& session, int signal) {
  if (&session != main_.get()) return signal_session_cgroup(session.id(), signal);
  return signal == SIGKILL ? kill_container_cgroup() : signal_everything(signal);
}

void Agent::limit_time(const SessionPtr& session, milliseconds timeout) {
  if (timeout == milliseconds(0) || session->has_exited()) return;
  limits_[session.get()] = {loop_.after(timeout, [this, session] { time_is_up(session); })};
}

void Agent::time_is_up(const SessionPtr& session) {
  if (auto sent = signal_all(*session, SIGTERM); !sent) say(sent.error().message());
  const auto kill = [this, session] {
    if (auto sent = signal_all(*session, SIGKILL); !sent) say(sent.error().message());
  };
  limits_[session.get()] = {loop_.after(kGraceAfterTimeout, kill), true};
}

Result<void> Agent::attach(const Caller& caller, const proto::Attach& call) {
  TRY_ASSIGN(const SessionPtr session, find_session(call.session_id()));
  Reader position;
  position.offset = {call.stdout_offset(), call.stderr_offset()};
  for (int stream = 0; stream < kStreams; ++stream) {
    if (position.offset[static_cast<std::size_t>(stream)] > session->output(stream).end()) {
      return fail(ErrorCode::kInvalidArgument, "session {} has not produced that much output", session->id());
    }
  }
  calls_.open_view(caller, session, position, call.no_stdin());
  return {};
}

Result<void> Agent::signal(const proto::Signal& call) {
  TRY_ASSIGN(const SessionPtr session, find_session(call.session_id()));
  if (call.signal() < 1 || call.signal() >= NSIG)
    return fail(ErrorCode::kInvalidArgument, "there is no signal {}", call.signal());
  const bool main = session == main_;
  if (main && state_ != State::kRunning) {
    return fail(ErrorCode::kInvalidState, "the main command of the box is not running");
  }
  // Also for its group: the number of a leader that is gone may be another's by now.
  if (session->has_exited()) return fail(ErrorCode::kInvalidState, "session {} has ended", session->id());
  if (call.whole_group()) return signal_all(*session, call.signal());
  return signal_process(session->pidfd(), call.signal());
}

Result<void> Agent::resize(const proto::Resize& call) {
  TRY_ASSIGN(const SessionPtr session, find_session(call.session_id()));
  TRY_ASSIGN(const WindowSize size, parse_window(call.rows(), call.cols()));
  return session->resize(size);
}

Result<void> Agent::freeze(const Caller& caller, const proto::Freeze& call) {
  if (state_ != State::kRunning) return fail(ErrorCode::kInvalidState, "the main command of the box is not running");
  if (call.what() == proto::Freeze::PROCESSES)
    return freezer_.freeze_processes(call.write_out(), [this, caller](Result<void> frozen) {
      // Its end may not have been seen yet.
      const auto ended = sys::poll_one(main_->pidfd(), POLLIN, std::chrono::milliseconds(0));
      if (frozen && (state_ != State::kRunning || !ended || *ended != 0))
        frozen = fail(ErrorCode::kInvalidState, "the main command of the box is not running");
      calls_.reply(caller, frozen);
    });
  TRY(freezer_.freeze_file_system());
  calls_.reply(caller, {});
  return {};
}

Result<void> Agent::adopt(const proto::Adopt& call) {
  if (state_ != State::kRunning) return fail(ErrorCode::kInvalidState, "the main command of the box is not running");
  TRY_ASSIGN(ContainerOptions now, parse_container(call.identity()));
  TRY(set_clock(call.identity().host_time_ns()));
  TRY(add_entropy(call.identity().entropy()));
  const ContainerOptions before = options_;
  options_.hostname = std::move(now.hostname);
  options_.hosts = std::move(now.hosts);
  options_.resolv_conf = std::move(now.resolv_conf);
  // There is no way back, and a box that has filled its disk, or /etc, is to go on all the same.
  if (auto taken = take_identity(main_->pid(), before, options_, call.another_box()); !taken) say(taken.error().message());
  if (auto broken = break_connections(); !broken) say(broken.error().message());
  return {};
}

Result<void> Agent::tell_processes(const Caller& caller) {
  proto::Reply reply;
  TRY_ASSIGN(*reply.mutable_processes(), list_processes());
  calls_.reply_with(caller, reply);
  return {};
}

Result<void> Agent::tell_usage(const Caller& caller) {
  proto::Reply reply;
  TRY_ASSIGN(*reply.mutable_usage(), container_usage());
  calls_.reply_with(caller, reply);
  return {};
}

void Agent::reap() {
  std::byte drop[1024];  // signalfd_siginfo, several; which children it were is asked of waitpid
  while (sys::read(child_signals_.get(), drop)) {
  }
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    process_ended(pid, status_of(status));
  }
}

void Agent::process_ended(pid_t pid, ExitStatus status) {
  if (pid == volume_pump_) volume_pump_ = 0;
  const auto it = running_.find(pid);
  if (it == running_.end()) return;
  const SessionPtr session = it->second;
  running_.erase(it);
  Session::Exit exit = {.status = status};
  if (status.signal == SIGKILL) {
    const std::uint64_t kills = oom_kills();
    exit.oom_killed = kills > std::exchange(oom_kills_, kills);
  }
  if (const auto limit = limits_.extract(session.get())) {
    loop_.cancel(limit.mapped().timer);
    if (limit.mapped().passed) {
      exit.status = {kTimeoutCode, 0};
      exit.timed_out = true;
      if (auto killed = signal_all(*session, SIGKILL); !killed) say(killed.error().message());
    }
  }
  session->ended(exit);
  if (session != main_) old_cgroups_.push_back(session->id());
  std::erase_if(old_cgroups_, remove_session_cgroup);
  if (sessions_.contains(session->id())) keep_ended(session);
  if (session == main_) {
    state_ = State::kEnded;
    if (ending_ == Ending::kNo) ending_ = Ending::kAfterReaders;
  }
}

void Agent::keep_ended(const SessionPtr& session) {
  ended_.push_back(session->id());
  std::size_t output = 0;
  for (auto id = ended_.rbegin(); id != ended_.rend(); ++id) {
    Session& kept = *sessions_.at(*id);
    output += kept.output(0).size() + kept.output(1).size();
    if (output > kMaxEndedOutput && kept.finished() && !kept.watched()) kept.drop_output();
  }
  if (ended_.size() > kMaxEnded) {
    sessions_.erase(ended_.front());  // a view of it keeps it alive
    ended_.pop_front();
  }
}

// ---- The end

void Agent::shut_down() {
  ending_ = Ending::kAtOnce;
  if (auto thawed = freezer_.thaw(); !thawed) say(thawed.error().message());
  if (running_.empty()) return;
  if (auto killed = kill_container_cgroup(); !killed) say(killed.error().message());
  loop_.after(kKillDeadline, [this] { deadline_passed_ = true; });
}

bool Agent::time_to_power_off() {
  if (ending_ == Ending::kNo) return false;
  if (deadline_passed_) return true;
  if (!running_.empty() || !starting_.empty()) return false;
  if (volume_pump_ != 0) {  // the kernel unmounts in the background, and may have something to write yet
    if (!unmounting_) unmounting_ = loop_.after(kGrace, [this] { deadline_passed_ = true; });
    return false;
  }
  if (ending_ == Ending::kAtOnce || calls_.no_streams()) return true;
  if (!calls_.all_sent()) {
    if (grace_) loop_.cancel(*std::exchange(grace_, std::nullopt));
  } else if (!grace_) {
    grace_ = loop_.after(kGrace, [this] { deadline_passed_ = true; });
  }
  return false;
}

}  // namespace boxlite::agent

#include "vmm/vm.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <utility>

#include "base/file.h"
#include "base/sys.h"
#include "vmm/jail.h"
#include "vmm/qemu_command.h"
#include "vmm/vm_filter.h"

namespace boxlite::vmm {
namespace {

// The kernel kills a PID namespace in milliseconds; a process in an uninterruptible call may hold it up.
constexpr auto kKillPatience = std::chrono::seconds(5);

Result<std::string> find_packaged(const std::string& program, std::string_view package) {
  auto found = find_program(program);
  if (found) return found;
  return fail(ErrorCode::kNotFound, "{} is not installed; install the package {} (apt-get install {})", program, package,
              package);
}

// Three ends: QEMU's to inherit, ours non-blocking.
Result<sys::SocketPair> channel() {
  TRY_ASSIGN(sys::SocketPair pair, sys::socket_pair());
  TRY(sys::set_nonblocking(pair.a.get(), true));
  return pair;
}

// utime + stime, fields 14 and 15 of /proc/<pid>/stat; field 3 follows the command name's closing parenthesis.
std::uint64_t cpu_ticks(pid_t pid) {
  const auto text = read_file(fmt::format("/proc/{}/stat", pid), 64 * 1024);
  if (!text) return 0;
  std::size_t at = text->rfind(')');
  for (int field = 2; field < 14 && at != std::string::npos; ++field) at = text->find(' ', at + 1);
  std::uint64_t sum = 0;
  for (int field = 14; field <= 15 && at != std::string::npos; ++field) {
    std::uint64_t value = 0;
    std::from_chars(text->data() + at + 1, text->data() + text->size(), value);
    sum += value;
    at = text->find(' ', at + 1);
  }
  return sum;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  const auto text = read_file(fmt::format("/proc/{}/task/{}/children", pid, pid), 64 * 1024);
  if (!text) return children;
  const char* at = text->data();
  const char* const end = at + text->size();
  while (at < end) {
    pid_t child = 0;
    const auto parsed = std::from_chars(at, end, child);
    if (parsed.ec != std::errc()) break;
    children.push_back(child);
    at = parsed.ptr + 1;
  }
  return children;
}

}  // namespace

Result<VmPrograms> find_vm_programs(const std::string& vm_init) {
  VmPrograms programs;
  TRY_ASSIGN(programs.qemu, find_packaged("qemu-system-x86_64", "qemu-system-x86"));
  TRY_ASSIGN(programs.bwrap, find_packaged("bwrap", "bubblewrap"));
  if (::access(vm_init.c_str(), X_OK) < 0) return fail_errno("boxlite-vm-init at {}", vm_init);
  programs.vm_init = vm_init;
  return programs;
}

Result<Vm> Vm::launch(const VmConfig& config, const VmPrograms& programs, int vm_lock_fd, const Nic& nic, int cgroup) {
  TRY_ASSIGN(sys::SocketPair portal, channel());
  TRY_ASSIGN(sys::SocketPair console, channel());
  TRY_ASSIGN(sys::SocketPair volumes, channel());
  TRY_ASSIGN(sys::SocketPair qmp, channel());
  TRY_ASSIGN(sys::Pipe lifeline, sys::pipe());
  TRY_ASSIGN(sys::Pipe complaints, sys::pipe());
  TRY(sys::set_nonblocking(complaints.read_end.get(), true));
  const UniqueFd launcher(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!launcher) return fail_errno("pidfd_open of this process");
  UniqueFd base_image;
  UniqueFd overlay;
  std::vector<UniqueFd> layers;
  if (!config.base_image.empty()) {
    for (const std::string& path : config.layers) {
      TRY_ASSIGN(UniqueFd layer, sys::open(path, O_RDONLY | O_NOFOLLOW));
      layers.push_back(std::move(layer));
    }
    TRY_ASSIGN(base_image, sys::open(config.base_image, O_RDONLY));
    TRY_ASSIGN(overlay, sys::open(config.overlay, O_RDWR));
  }

  const bool from_image = !config.process_image.empty();
  UniqueFd device_state;
  if (!config.device_state.empty() && !from_image) {
    TRY_ASSIGN(device_state, sys::open(config.device_state, O_RDONLY));
  }

  std::vector<int> layer_numbers;
  for (const UniqueFd& layer : layers) layer_numbers.push_back(layer.get());
  const QemuDescriptors fds = {.portal = portal.b.get(),
                               .console = console.b.get(),
                               .qmp = qmp.b.get(),
                               .base_image = base_image.get(),
                               .layers = layer_numbers,
                               .overlay = overlay.get(),
                               .volumes = volumes.b.get(),
                               .nic = nic};
  JailPlan plan = jail_plan(config, programs);
  plan.lifeline_fd = lifeline.read_end.get();
  plan.launcher_fd = launcher.get();
  plan.lock_fd = vm_lock_fd;
  TRY_ASSIGN(const UniqueFd filter, vm_filter());
  plan.filter_fd = filter.get();
  const std::array<int, static_cast<std::size_t>(Channel::kCount)> channels = {
      fds.portal, fds.console, fds.qmp, fds.volumes, nic.fd, fds.base_image, fds.overlay};
  UniqueFd sandbox;
  if (from_image) {
    TRY_ASSIGN(sandbox, sandbox_filter());
  }

  ProcessSpec spec;
  spec.program = programs.bwrap;
  spec.cgroup = cgroup;
  spec.argv =
      jail_command(plan, config, programs,
                   from_image ? resume_command(sandbox.get(), vm_lock_fd, channels) : qemu_command(config, programs.qemu, fds));
  spec.stdout_fd = complaints.write_end.get();
  spec.stderr_fd = complaints.write_end.get();
  for (const int fd : {fds.portal, fds.volumes, fds.console, fds.qmp, fds.base_image, fds.overlay, nic.fd, plan.lifeline_fd,
                       plan.launcher_fd, plan.lock_fd, plan.filter_fd, device_state.get(), sandbox.get()}) {
    if (fd >= 0) spec.inherit.push_back(fd);
  }
  spec.inherit.insert(spec.inherit.end(), layer_numbers.begin(), layer_numbers.end());
  auto child = ChildProcess::spawn(spec);
  if (!child) return std::unexpected(child.error().context("start the VM"));

  Vm vm;
  vm.portal_ = std::move(portal.a);
  vm.volumes_ = std::move(volumes.a);
  vm.console_ = std::move(console.a);
  vm.qmp_ = std::move(qmp.a);
  vm.stderr_ = std::move(complaints.read_end);
  vm.lifeline_ = std::move(lifeline.write_end);
  vm.device_state_fd_ = device_state.get();
  vm.channels_ = channels;
  vm.jail_ = std::make_unique<ChildProcess>(std::move(*child));
  return vm;
}

Vm::~Vm() {
  if (!jail_ || status_) return;
  kill();
  auto ended = wait_process_end(jail_->pidfd(), kKillPatience);
  if (ended && !*ended) {
    kill_jail();
    ended = wait_process_end(jail_->pidfd(), kKillPatience);
  }
  if (ended && *ended) (void)jail_->wait();  // else it ends a little later, and is reaped when this process has ended
}

void Vm::kill() {
  // Not a signal to bwrap: it would end before the processes it watches. PID 1 of the jail ends at this end-of-file and takes
  // all of them with it; bwrap ends after them.
  lifeline_.reset();
}

void Vm::kill_jail() { (void)jail_->kill(SIGKILL); }

Result<ExitStatus> Vm::wait() {
  if (!status_) {
    TRY_ASSIGN(status_, jail_->wait());
  }
  ExitStatus status = *status_;
  if (status.signal == 0 && status.code > 128) status.signal = status.code - 128;  // bwrap's and vm-init's way to say it
  return status;
}

Result<std::uint64_t> Vm::cpu_time_ms() const {
  std::uint64_t ticks = 0;
  std::vector<pid_t> pending = {jail_->pid()};
  while (!pending.empty()) {
    const pid_t pid = pending.back();
    pending.pop_back();
    ticks += cpu_ticks(pid);
    const std::vector<pid_t> children = children_of(pid);
    pending.insert(pending.end(), children.begin(), children.end());
  }
  const long per_second = ::sysconf(_SC_CLK_TCK);
  if (per_second <= 0) return fail_errno("sysconf _SC_CLK_TCK");
  return ticks * 1000 / static_cast<std::uint64_t>(per_second);
}

}  // namespace boxlite::vmm

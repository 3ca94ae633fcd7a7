#include "vmm/volume_server.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sys.h"
#include "vmm/jail.h"

namespace boxlite::vmm {
namespace {

constexpr const char* kProgram = "/boxlite-volume";
constexpr const char* kRoot = "/volume";
// The file system may be slow; then the server ends a little later.
constexpr auto kServerEndPatience = std::chrono::seconds(5);

}  // namespace

std::vector<std::string> volume_jail_command(const VolumeShare& share, const VmPrograms& programs, bool real_root,
                                             const std::vector<int>& descriptors) {
  std::vector<std::string> argv = {programs.bwrap, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"};
  argv.insert(argv.end(), {"--unshare-cgroup-try", "--new-session", "--as-pid-1", "--clearenv", "--cap-drop", "ALL"});
  if (real_root) {
    for (const char* capability : {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID"})
      argv.insert(argv.end(), {"--cap-add", capability});
  } else {
    argv.push_back("--unshare-user");
  }
  argv.insert(argv.end(), {"--ro-bind", programs.volume_server, kProgram, "--dir", kRoot});
  const std::string target = share.file ? std::string(kRoot) + "/" + kVolumeFile : kRoot;
  argv.insert(argv.end(), {share.read_only ? "--ro-bind" : "--bind", share.source, target});
  if (!share.hidden.empty()) {
    const std::string hidden = target + "/" + share.hidden;
    argv.insert(argv.end(), {"--tmpfs", hidden, "--remount-ro", hidden});
  }
  argv.insert(argv.end(), {"--remount-ro", "/", "--chdir", "/", "--", kProgram});
  for (const int fd : descriptors) argv.push_back(std::to_string(fd));
  argv.emplace_back(real_root ? "real" : "mapped");
  return argv;
}

Result<VolumeServer> VolumeServer::launch(const VolumeShare& share, const VmPrograms& programs, int lock_fd, int cgroup) {
  TRY_ASSIGN(sys::SocketPair pair, sys::socket_pair());
  TRY(sys::set_nonblocking(pair.a.get(), true));
  const UniqueFd launcher(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!launcher) return fail_errno("pidfd_open of this process");
  ProcessSpec spec;
  spec.program = programs.bwrap;
  spec.cgroup = cgroup;
  const bool real_root = ::geteuid() == 0 && has_sys_admin();
  spec.argv = volume_jail_command(share, programs, real_root, {pair.b.get(), launcher.get(), lock_fd});
  spec.stdout_fd = STDERR_FILENO;
  spec.stderr_fd = STDERR_FILENO;
  spec.inherit = {pair.b.get(), launcher.get()};
  if (lock_fd >= 0) spec.inherit.push_back(lock_fd);
  auto child = ChildProcess::spawn(spec);
  if (!child) return std::unexpected(child.error().context("serve " + share.source));
  VolumeServer server;
  server.connection_ = std::move(pair.a);
  server.jail_ = std::make_unique<ChildProcess>(std::move(*child));
  return server;
}

Result<ExitStatus> VolumeServer::wait() {
  reaped_ = true;
  return jail_->wait();
}

VolumeServer::~VolumeServer() {
  if (!jail_ || reaped_) return;
  connection_.reset();
  auto ended = wait_process_end(jail_->pidfd(), kServerEndPatience);
  if (ended && !*ended) {
    (void)jail_->kill(SIGKILL);  // it has been stopped (SIGSTOP), or hangs; so does the server, which ends with its parent
    ended = wait_process_end(jail_->pidfd(), kServerEndPatience);
  }
  if (ended && *ended) (void)jail_->wait();
}

}  // namespace boxlite::vmm

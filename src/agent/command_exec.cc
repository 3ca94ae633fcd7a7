#include "agent/command_exec.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <vector>

#include "agent/container_init.h"
#include "agent/user.h"
#include "base/result.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

void reset_signals() {
  for (int signal = 1; signal < NSIG; ++signal) std::signal(signal, SIG_DFL);  // fails for SIGKILL and SIGSTOP
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

Result<void> take_terminal(bool tty) {
  if (::setsid() < 0) return fail_errno("setsid");
  if (tty && ::ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0) return fail_errno("take the terminal");
  return {};
}

// So that the command can open /dev/stdout again, and owns its terminal. Not the /dev/null of others.
Result<void> own_stdio(uid_t uid) {
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) {
    TRY_ASSIGN(const struct stat st, sys::fstat(fd));
    const bool ours = S_ISFIFO(st.st_mode) || (S_ISCHR(st.st_mode) && major(st.st_rdev) != 1);
    if (ours && st.st_uid != uid && ::fchown(fd, uid, static_cast<gid_t>(-1)) < 0) return fail_errno("own stdio");
  }
  return {};
}

Result<void> enter_working_dir(const std::string& path) {
  if (::chdir(path.c_str()) < 0) {
    if (errno != ENOENT)
      return fail(ErrorCode::kInvalidArgument, "working directory {}: {}; choose another with -w", path, std::strerror(errno));
    for (std::size_t at = 1; at <= path.size(); ++at) {
      if (at < path.size() && path[at] != '/') continue;
      if (::mkdir(path.substr(0, at).c_str(), 0755) < 0 && errno != EEXIST) {
        return fail(ErrorCode::kInvalidArgument, "make the working directory {}: {}; choose another with -w", path,
                    std::strerror(errno));
      }
    }
    if (::chdir(path.c_str()) < 0)
      return fail(ErrorCode::kInvalidArgument, "working directory {}: {}; choose another with -w", path, std::strerror(errno));
  }
  // A magic link (/proc/self/fd/N) could lead out of the root: the kernel then calls the place "(unreachable)".
  char here[PATH_MAX];
  if (::syscall(SYS_getcwd, here, sizeof here) < 0 || here[0] != '/') {
    return fail(ErrorCode::kInvalidArgument, "working directory {} is outside of the container; choose another with -w", path);
  }
  return {};
}

constexpr std::uint64_t capability_bit(int capability) { return std::uint64_t{1} << static_cast<unsigned>(capability); }
constexpr std::uint64_t kFileCapabilities = capability_bit(CAP_CHOWN) | capability_bit(CAP_DAC_OVERRIDE) |
                                            capability_bit(CAP_FOWNER) | capability_bit(CAP_FSETID) | capability_bit(CAP_MKNOD) |
                                            capability_bit(CAP_SETFCAP);

constexpr bool has(std::uint64_t set, int capability) { return (set >> static_cast<unsigned>(capability) & 1U) != 0; }

Result<void> set_limits(const std::vector<Ulimit>& ulimits) {
  for (const Ulimit& ulimit : ulimits) {
    const rlimit limit = {ulimit.soft, ulimit.hard};
    if (::setrlimit(static_cast<__rlimit_resource>(ulimit.resource), &limit) < 0) {
      return fail_errno("set limit {} to {}:{}", ulimit.resource, ulimit.soft, ulimit.hard);
    }
  }
  return {};
}

Result<void> bound_capabilities(std::uint64_t wanted) {
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (has(wanted, capability)) continue;
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) return fail_errno("drop capability {}", capability);
  }
  return {};
}

Result<void> keep_capabilities(std::uint64_t wanted) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) < 0) return fail_errno("capget");
  for (unsigned i = 0; i < 2; ++i) {
    data[i].permitted &= static_cast<std::uint32_t>(wanted >> (32U * i));
    data[i].effective = data[i].permitted;
  }
  if (::syscall(SYS_capset, &header, data) < 0) return fail_errno("capset");
  return {};
}

Result<void> drop_to(const User& user, const ContainerOptions& container) {
  TRY(set_limits(container.ulimits));
  TRY(bound_capabilities(container.capabilities));
  if (::setgroups(user.groups.size(), user.groups.data()) < 0) return fail_errno("setgroups");
  if (::setresgid(user.gid, user.gid, user.gid) < 0) return fail_errno("setgid {}", user.gid);
  if (::setresuid(user.uid, user.uid, user.uid) < 0) return fail_errno("setuid {}", user.uid);
  if (user.uid != 0) return {};  // leaving uid 0 has cleared them
  return keep_capabilities(container.capabilities);
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (std::string& text : strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

std::string_view value_of(const std::vector<std::string>& env, std::string_view name_and_equals) {
  for (const std::string_view entry : env) {
    if (entry.starts_with(name_and_equals)) return entry.substr(name_and_equals.size());
  }
  return {};
}

Error cannot_execute(const std::string& path, int error) {
  struct stat st = {};
  const bool exists = ::stat(path.c_str(), &st) == 0;
  std::string reason = std::strerror(error);
  reason[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(reason[0])));
  if (error == ENOENT && exists) {  // its interpreter is missing
    return Error(ErrorCode::kCommandNotFound, fmt::format("exec {}: {}", path, reason));
  }
  if (error == ENOENT || error == ENOTDIR) {
    return Error(ErrorCode::kCommandNotFound, fmt::format("exec: \"{}\": stat {}: {}", path, path, reason));
  }
  if (error == EACCES && exists && S_ISDIR(st.st_mode)) reason = "is a directory";
  return Error(ErrorCode::kCommandNotExecutable, fmt::format("exec: \"{}\": {}", path, reason));
}

Error exec_in_path(const std::string& name, std::string_view path, char* const* argv, char* const* envp) {
  bool denied = false;
  for (bool more = !path.empty(); more;) {
    const std::size_t colon = path.find(':');
    const std::string_view directory = path.substr(0, colon);
    more = colon != std::string_view::npos;
    if (more) path.remove_prefix(colon + 1);
    const std::string candidate = fmt::format("{}/{}", directory.empty() ? "." : directory, name);
    ::execve(candidate.c_str(), argv, envp);
    const int error = errno;
    struct stat st = {};
    if (::stat(candidate.c_str(), &st) < 0 || S_ISDIR(st.st_mode)) continue;
    if (error != EACCES) {
      return cannot_execute(candidate, error);  // there, but not what it seems: no interpreter, no format we know
    }
    denied = true;
  }
  if (denied) return Error(ErrorCode::kCommandNotExecutable, fmt::format("exec: \"{}\": permission denied", name));
  return Error(ErrorCode::kCommandNotFound, fmt::format("exec: \"{}\": executable file not found in $PATH", name));
}

Result<User> find_user(const std::string& spec) {
  TRY_ASSIGN(const UniqueFd root, sys::open("/", O_PATH | O_DIRECTORY));
  return resolve_user(root.get(), spec);
}

Result<User> prepare(const ExecPlan& plan) {
  TRY(take_terminal(plan.command.tty));
  TRY_ASSIGN(User user, find_user(plan.command.user));
  TRY(own_stdio(user.uid));
  TRY(enter_working_dir(plan.command.working_dir));
  TRY(drop_to(user, plan.container));
  return user;
}

}  // namespace

Error become_command(const ExecPlan& plan) {
  reset_signals();
  const Result<User> user = prepare(plan);
  if (!user) return user.error();
  if (plan.below_init) {
    if (const auto split = split_off_init(plan.command.tty); !split) return split.error();
  }
  std::vector<std::string> args = plan.command.args;
  std::vector<std::string> env = complete_environment(plan.command, plan.container.hostname, user->home);
  const std::string& name = args[0];
  const std::vector<char*> argv = pointers(args);
  const std::vector<char*> envp = pointers(env);
  if (name.find('/') == std::string::npos) {
    return exec_in_path(name, value_of(env, "PATH="), argv.data(), envp.data());
  }
  ::execve(name.c_str(), argv.data(), envp.data());
  return cannot_execute(name, errno);
}

Result<void> become_file_helper() {
  reset_signals();
  std::signal(SIGPIPE, SIG_IGN);
  TRY(take_terminal(false));
  TRY(bound_capabilities(kFileCapabilities));
  TRY(keep_capabilities(kFileCapabilities));
  ::umask(0);
  if (::chdir("/") < 0) return fail_errno("chdir /");
  return {};
}

}  // namespace boxlite::agent

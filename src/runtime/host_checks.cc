#include "runtime/host_checks.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/capture.h"
#include "base/file.h"
#include "base/landlock.h"
#include "base/sys.h"
#include "runtime/host.h"
#include "runtime/host_room.h"
#include "runtime/programs.h"
#include "vmm/jail.h"
#include "vmm/vm_cgroup.h"

namespace boxlite {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
// Of the smallest box and of one that says nothing about it.
constexpr std::uint64_t kLeastMemoryMiB = 128 + kVmOverhead / kMiB;
constexpr std::uint64_t kDefaultMemoryMiB = 512 + kVmOverhead / kMiB;
constexpr std::uint64_t kLittleSpaceMiB = 2048;
constexpr std::uint64_t kLeastFiles = 1000;
constexpr rlim_t kLeastDescriptors = 1024;  // what QEMU is given
constexpr rlim_t kLeastProcesses = 100;     // a box of one CPU has some twenty, threads counted
constexpr std::size_t kMaxCheckedFile = 64 * 1024;

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

bool setting_is(const char* path, std::string_view value) {
  const auto text = read_file(path, kMaxCheckedFile);
  return text && first_line(*text) == value;
}

void check_accelerator(const Context& context, const StartPrograms& programs, Findings& findings) {
  const auto choice = choose_host_accelerator(context, programs);
  if (!choice) return findings.problem("kvm", choice.error());
  if (choice->accelerator == vmm::Accelerator::kKvm) return findings.ok("kvm", choice->reason);
  std::string advice = "boxes work, but slower, and with the jail as their only boundary";
  if (::access("/dev/kvm", F_OK) < 0) {
    advice += "; to have KVM, switch virtualisation on in the firmware, or nested virtualisation on the host of this machine";
  }
  findings.note("kvm", "boxes run under TCG: " + choice->reason, advice);
}

std::string namespaces_remedy() {
  if (setting_is("/proc/sys/kernel/unprivileged_userns_clone", "0")) return "as root: sysctl kernel.unprivileged_userns_clone=1";
  if (setting_is("/proc/sys/user/max_user_namespaces", "0")) return "as root: sysctl user.max_user_namespaces=15000";
  if (setting_is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"))
    return "use the system's /usr/bin/bwrap with its AppArmor profile, or as root: sysctl "
           "kernel.apparmor_restrict_unprivileged_userns=0";
  return "in a container: let it make namespaces (docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined)";
}

// By making them, as a jail does.
void check_namespaces(const StartPrograms& programs, Findings& findings) {
  const bool as_root = ::geteuid() == 0 && vmm::has_sys_admin();
  std::vector<std::string> argv = {programs.vm.bwrap, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"};
  if (!as_root) argv.emplace_back("--unshare-user");
  const vmm::HostFolders folders = vmm::find_host_folders(programs.vm.bwrap);
  for (const std::string& folder : folders.binds) argv.insert(argv.end(), {"--ro-bind", folder, folder});
  for (const auto& [link, target] : folders.symlinks) argv.insert(argv.end(), {"--symlink", target, link});
  argv.insert(argv.end(), {"--ro-bind", programs.vm.bwrap, "/bwrap", "/bwrap", "--version"});
  const auto made = capture(argv);
  if (!made) return findings.problem("namespaces", made.error());
  if (made->status.code == 0) {
    return findings.ok("namespaces", fmt::format("{} makes a jail's namespaces, {}", first_line(made->output),
                                                 as_root ? "as root" : "a user namespace among them"));
  }
  findings.problem("namespaces", fmt::format("bubblewrap cannot make a jail's namespaces: {}", first_line(made->output)),
                   namespaces_remedy());
}

void check_landlock(Findings& findings) {
  if (const int version = landlock_version(); version > 0)
    return findings.ok("landlock", fmt::format("version {}: shims and network processes are kept to their files", version));
  findings.note("landlock", "this kernel has none, or it is switched off: a shim's files are guarded by its seccomp filter alone",
                "Linux 5.13 or newer, with landlock among the names in lsm=… of its command line");
}

void check_cgroup(Findings& findings) {
  const auto place = vmm::find_cgroup_place();
  if (place) return findings.ok("cgroups", fmt::format("the processes of boxes have cgroups (v2) below {}", *place));
  findings.note(
      "cgroups", place.error().message(),
      "nothing needs to be done: boxes are bounded by resource limits (setrlimit) alone, each of their processes by itself");
}

void check_memory(Findings& findings) {
  const std::uint64_t available = available_memory(read_file("/proc/meminfo", kMaxCheckedFile).value_or("")) / kMiB;
  if (available == 0) return findings.note("memory", "this host does not tell how much is available", "look at /proc/meminfo");
  const std::string text = fmt::format("{} MiB are available", available);
  const char* const remedy = "stop boxes or other programs; a start that would not fit is refused";
  if (available < kLeastMemoryMiB) return findings.problem("memory", text + ", which is not enough for any box", remedy);
  if (available < kDefaultMemoryMiB) return findings.note("memory", text + ", less than a box takes by default", remedy);
  findings.ok("memory", text);
}

void check_disk(const std::string& home, Findings& findings) {
  std::filesystem::path existing = home;
  std::error_code ignored;  // then statvfs says why
  while (existing.has_relative_path() && !std::filesystem::exists(existing, ignored)) existing = existing.parent_path();
  struct statvfs fs = {};
  if (::statvfs(existing.c_str(), &fs) < 0)
    return findings.problem("disk", Error::from_errno(errno, "statvfs " + existing.string()));
  const std::uint64_t free = std::uint64_t{fs.f_bavail} * fs.f_frsize / kMiB;
  const std::string text = fmt::format("{} MiB are free below {}", free, home);
  const char* const remedy = "boxlite gc, boxlite rm and boxlite image prune -a make space; --home puts boxes elsewhere";
  if (fs.f_files > 0 && fs.f_favail < kLeastFiles)
    return findings.problem("disk", fmt::format("{} more files can be made below {}", fs.f_favail, home), remedy);
  if (free < kLeastSpace / kMiB) return findings.problem("disk", text + ", too little for a start", remedy);
  if (free < kLittleSpaceMiB) return findings.note("disk", text + ", and boxes' disks grow as they are filled", remedy);
  findings.ok("disk", text);
}

// Threads of all processes of this user, which RLIMIT_NPROC counts.
rlim_t own_threads() {
  rlim_t threads = 0;
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
  if (!processes) return 0;
  while (const dirent* entry = ::readdir(processes.get())) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    struct stat st = {};
    // proc(5): a directory for each thread, and so a link of "..".
    if (::stat(fmt::format("/proc/{}/task", entry->d_name).c_str(), &st) == 0 && st.st_uid == ::geteuid())
      threads += st.st_nlink - 2;
  }
  return threads;
}

std::string limit_text(rlim_t limit) { return limit == RLIM_INFINITY ? "unlimited" : std::to_string(limit); }

void check_limits(Findings& findings) {
  rlimit files = {};
  rlimit processes = {};
  if (::getrlimit(RLIMIT_NOFILE, &files) < 0 || ::getrlimit(RLIMIT_NPROC, &processes) < 0)
    return findings.problem("limits", Error::from_errno(errno, "getrlimit"));
  bool fine = true;
  const auto problem = [&](std::string text, std::string remedy) {
    fine = false;
    findings.problem("limits", std::move(text), std::move(remedy));
  };
  if (files.rlim_max < kLeastDescriptors) {
    problem(fmt::format("a process may have {} files open, and a box's need {}", files.rlim_max, kLeastDescriptors),
            fmt::format("as root: raise nofile in /etc/security/limits.conf (ulimit -Hn {})", kLeastDescriptors));
  }
  // The kernel asks this limit of nobody who is root.
  const rlim_t threads = ::geteuid() == 0 ? 0 : own_threads();
  if (processes.rlim_cur != RLIM_INFINITY && threads + kLeastProcesses > processes.rlim_cur && ::geteuid() != 0) {
    problem(fmt::format("this user may have {} processes and threads and has {}; a box takes some twenty", processes.rlim_cur,
                        threads),
            "end some, or as root: raise nproc in /etc/security/limits.conf (ulimit -u)");
  }
  constexpr std::array kUnlimited = {std::pair(RLIMIT_FSIZE, "the size of a file (ulimit -f)"),
                                     std::pair(RLIMIT_AS, "a process's address space (ulimit -v)"),
                                     std::pair(RLIMIT_DATA, "a process's data (ulimit -d)")};
  for (const auto& [resource, what] : kUnlimited) {
    rlimit limit = {};
    if (::getrlimit(resource, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY) continue;
    problem(fmt::format("{} is limited to {} bytes, which a box's QEMU or its disk may exceed", what, limit.rlim_cur),
            "take the limit away where boxlite is started from");
  }
  if (!fine) return;
  findings.ok("limits", fmt::format("open files {}, processes and threads {}", limit_text(files.rlim_max),
                                    ::geteuid() == 0 ? "unlimited for root" : limit_text(processes.rlim_cur)));
}

}  // namespace

void check_host(const Context& context, Findings& findings) {
  auto programs = find_start_programs();
  if (const auto image = find_own_program("boxlite-image"); programs && !image) programs = std::unexpected(image.error());
  if (programs) {
    findings.ok("programs", fmt::format("{}, {}, and boxlite's own {}", programs->vm.qemu, programs->vm.bwrap, BOXLITE_VERSION));
    check_accelerator(context, *programs, findings);
    check_namespaces(*programs, findings);
  } else {
    findings.problem("programs", programs.error());
  }
  check_landlock(findings);
  check_cgroup(findings);
  check_memory(findings);
  check_disk(context.paths.home(), findings);
  check_limits(findings);
}

}  // namespace boxlite

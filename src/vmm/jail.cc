#include "vmm/jail.h"

#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fmt/core.h>

#include <array>
#include <climits>
#include <cstdio>
#include <set>

namespace boxlite::vmm {
namespace {

constexpr const char* kKvmDevice = "/dev/kvm";

bool is_folder(const std::string& path) {
  struct stat st = {};
  return ::lstat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

std::optional<std::string> link_target(const std::string& path) {
  std::array<char, PATH_MAX> target;
  const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
  if (length <= 0) return std::nullopt;
  return std::string(target.data(), static_cast<std::size_t>(length));
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

// The group whose members may use KVM. Root's own group is never lent to a box.
std::optional<std::uint32_t> kvm_group() {
  struct stat st = {};
  if (::stat(kKvmDevice, &st) < 0 || st.st_gid == 0) return std::nullopt;
  if ((st.st_mode & (S_IRGRP | S_IWGRP)) != (S_IRGRP | S_IWGRP)) return std::nullopt;
  return st.st_gid;
}

bool counts_processes_by_namespace() {
  utsname kernel = {};
  int major = 0;
  int minor = 0;
  if (::uname(&kernel) < 0 || std::sscanf(kernel.release, "%d.%d", &major, &minor) != 2) return false;  // NOLINT(cert-err34-c)
  return major > 5 || (major == 5 && minor >= 14);
}

std::string number_or_dash(const std::optional<std::uint32_t>& number) { return number ? std::to_string(*number) : "-"; }

// Builds the jail's tree: every folder above a mount is made by name with mode 0755. Left to itself bwrap makes them 0700, and
// QEMU under another uid than bwrap's could not reach its own files.
class Tree {
 public:
  explicit Tree(std::vector<std::string>& argv) : argv_(argv) {}

  void mount(const char* option, const std::string& source, const std::string& target) {
    make_parents(target);
    argv_.insert(argv_.end(), {option, source, target});
  }

 private:
  void make_parents(const std::string& target) {
    for (std::size_t slash = target.find('/', 1); slash != std::string::npos; slash = target.find('/', slash + 1)) {
      const std::string folder = target.substr(0, slash);
      if (made_.insert(folder).second) argv_.insert(argv_.end(), {"--perms", "0755", "--dir", folder});
    }
  }

  std::vector<std::string>& argv_;
  std::set<std::string> made_;
};

}  // namespace

bool has_sys_admin() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data = {};
  if (::syscall(SYS_capget, &header, data.data()) < 0) return false;
  return (data[0].effective & (1U << CAP_SYS_ADMIN)) != 0;
}

HostFolders find_host_folders(const std::string& qemu, const std::string& root) {
  HostFolders found;
  const auto add = [&](const std::string& path) {
    if (!is_folder(root + path)) return false;
    found.binds.push_back(path);
    return true;
  };
  // Debian keeps an architecture's libraries in one folder; elsewhere they fill /usr/lib64, and on Arch /usr/lib.
  const bool multiarch = add("/usr/lib/x86_64-linux-gnu");
  const bool lib64 = add("/usr/lib64");
  if (!multiarch && !lib64) add("/usr/lib");
  // Since the merge of /usr these two are links; before it they are folders of their own.
  for (const std::string path : {"/lib", "/lib64", "/usr/lib64"}) {
    if (const auto target = link_target(root + path)) {
      found.symlinks.emplace_back(path, *target);
    } else if (path == "/lib") {
      if (!add("/lib/x86_64-linux-gnu")) add("/lib");
    } else if (path == "/lib64") {
      add(path);
    }
  }
  const std::string prefix = parent_of(parent_of(qemu));
  if (prefix != "/usr" && !prefix.empty()) add(prefix + "/share/qemu");
  for (const char* folder : {"/usr/share/qemu", "/usr/share/seabios", "/usr/share/qboot"}) add(folder);
  return found;
}

JailPlan jail_plan(const VmConfig& config, const VmPrograms& programs) {
  JailPlan plan;
  plan.kvm = config.accelerator == Accelerator::kKvm;
  plan.folders = find_host_folders(programs.qemu);
  if (config.uid && ::geteuid() == 0 && has_sys_admin()) {
    plan.user_namespace = false;
    plan.uid = config.uid;
    if (plan.kvm) plan.kvm_group = kvm_group();
  }
  plan.limit_processes = plan.uid || counts_processes_by_namespace();
  return plan;
}

VmLimits vm_limits(const VmConfig& config) {
  // Measured under TCG with one and two CPUs while its disk was written to: memory and translation cache, and 210 MiB more. Its
  // thread pool has up to 64 threads with stacks of 8 MiB.
  constexpr std::uint64_t kMiB = 1024 * 1024;
  constexpr std::uint64_t kOverhead = 1024 * kMiB;
  // A qcow2 file has tables of a few thousandths of the disk's size.
  constexpr std::uint64_t kTables = 64 * kMiB;
  // For the disk, and QEMU's own.
  constexpr unsigned kThreads = kDiskThreads + 64;
  VmLimits limits;
  limits.data_bytes = config.memory_mib * kMiB + kTranslationCacheMib * kMiB + kOverhead;
  limits.file_bytes = config.disk_bytes + config.disk_bytes / 50 + kTables;
  limits.processes = config.cpus + kThreads;
  return limits;
}

CgroupLimits cgroup_limits(const VmConfig& config, std::size_t volumes) {
  // The kernel's page tables are counted here: eight bytes for each page of memory, QEMU's and once more KVM's. Pages of files
  // are too, but are given back before a limit is said to be reached.
  constexpr std::uint64_t kTables = 256;
  // bubblewrap and vm-init, the network process, and of each server bubblewrap and itself.
  const auto others = static_cast<unsigned>(3 + 2 * volumes);
  const VmLimits of_vm = vm_limits(config);
  return {.memory_bytes = of_vm.data_bytes + of_vm.data_bytes / kTables, .processes = of_vm.processes + others};
}

std::vector<std::string> jail_command(const JailPlan& plan, const VmConfig& config, const VmPrograms& programs,
                                      const std::vector<std::string>& qemu_argv) {
  std::vector<std::string> argv = {programs.bwrap, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"};
  argv.insert(argv.end(), {"--unshare-cgroup-try", "--new-session", "--as-pid-1", "--clearenv"});
  argv.insert(argv.end(), {"--cap-drop", "ALL"});
  if (plan.user_namespace) {
    argv.push_back("--unshare-user");
  } else {
    for (const char* capability : {"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"}) argv.insert(argv.end(), {"--cap-add", capability});
  }
  argv.insert(argv.end(), {"--setenv", "PATH", "/usr/bin"});

  Tree tree(argv);
  for (const std::string& folder : plan.folders.binds) tree.mount("--ro-bind", folder, folder);
  for (const auto& [link, target] : plan.folders.symlinks) tree.mount("--symlink", target, link);
  tree.mount("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache");
  tree.mount("--ro-bind", programs.qemu, programs.qemu);
  tree.mount("--ro-bind", programs.vm_init, kJailVmInit);
  const bool from_image = !config.process_image.empty();
  if (from_image) {
    tree.mount("--ro-bind", programs.vm_resume, kJailVmResume);
    tree.mount("--ro-bind", config.process_image, kJailProcessImage);
  } else if (config.device_state.empty()) {
    tree.mount("--ro-bind", config.kernel, kJailKernel);
    tree.mount("--ro-bind", config.initramfs, kJailInitramfs);
  }
  if (config.memory_file) {
    tree.mount(config.memory_file->shared ? "--bind" : "--ro-bind", config.memory_file->path, kJailMemory);
    if (!config.memory_file->shared && !from_image) {
      tree.mount("--ro-bind", programs.memory_guard, kJailMemoryGuard);
      argv.insert(argv.end(), {"--setenv", "LD_PRELOAD", kJailMemoryGuard});
    }
  }
  argv.insert(argv.end(), {"--dev", "/dev"});
  if (plan.kvm) argv.insert(argv.end(), {"--dev-bind", kKvmDevice, kKvmDevice});
  // Both are memory of the host's, which nothing here writes to.
  argv.insert(argv.end(), {"--remount-ro", "/dev", "--remount-ro", "/"});
  if (plan.filter_fd >= 0) argv.insert(argv.end(), {"--seccomp", std::to_string(plan.filter_fd)});
  argv.insert(argv.end(), {"--chdir", "/", "--"});

  argv.insert(argv.end(), {kJailVmInit, std::to_string(plan.lifeline_fd), std::to_string(plan.launcher_fd)});
  argv.insert(argv.end(), {std::to_string(plan.lock_fd), number_or_dash(plan.uid), number_or_dash(plan.kvm_group)});
  const VmLimits limits = vm_limits(config);
  argv.insert(argv.end(), {std::to_string(limits.data_bytes), std::to_string(limits.file_bytes),
                           plan.limit_processes ? std::to_string(limits.processes) : "-", "--"});
  argv.insert(argv.end(), qemu_argv.begin(), qemu_argv.end());
  return argv;
}

std::string describe_isolation(Accelerator accelerator) {
  std::string line = accelerator == Accelerator::kKvm ? "KVM virtual machine"
                                                      : "TCG virtual machine (QEMU promises no isolation "
                                                        "under TCG: the jail is the boundary)";
  line += "; jail: bubblewrap (own mount, pid, net, ipc, uts namespaces), QEMU seccomp sandbox, ";
  if (::geteuid() != 0) return line + "user namespace; QEMU runs as the calling user";
  if (has_sys_admin()) return line + "a uid of its own for each box";
  return line + "user namespace; no uid of its own for each box, since root has no CAP_SYS_ADMIN here";
}

}  // namespace boxlite::vmm

#include "agent/container_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "agent/boot.h"
#include "agent/identity.h"
#include "agent/in_root.h"
#include "agent/mount_api.h"
#include "agent/user.h"
#include "agent/volume_mount.h"
#include "base/defer.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

constexpr unsigned kNoSuid = MOUNT_ATTR_NOSUID;
constexpr unsigned kNoDev = MOUNT_ATTR_NODEV;
constexpr unsigned kNoExec = MOUNT_ATTR_NOEXEC;
constexpr unsigned kInert = kNoSuid | kNoDev | kNoExec;

// What docker hides and protects, relative to /proc and /sys.
constexpr const char* kMaskedProc[] = {"asound",     "acpi",        "kcore",       "keys", "latency_stats",
                                       "timer_list", "timer_stats", "sched_debug", "scsi"};
constexpr const char* kReadonlyProc[] = {"bus", "fs", "irq", "sys", "sysrq-trigger"};
constexpr const char* kMaskedSys[] = {"firmware", "devices/virtual/powercap"};

struct Node {
  const char* name;
  unsigned major;
  unsigned minor;
};
constexpr Node kNodes[] = {{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};

struct DeviceLink {
  const char* name;
  const char* target;
};
constexpr DeviceLink kLinks[] = {{"ptmx", "pts/ptmx"},
                                 {"fd", "/proc/self/fd"},
                                 {"stdin", "/proc/self/fd/0"},
                                 {"stdout", "/proc/self/fd/1"},
                                 {"stderr", "/proc/self/fd/2"}};

Result<UniqueFd> mount_in_root(int root, const char* path, UniqueFd mount) {
  TRY_ASSIGN(const UniqueFd target, ensure_in_root(root, path, EntryKind::kDirectory));
  if (auto attached = attach_mount(mount.get(), target.get()); !attached) return std::unexpected(attached.error().context(path));
  return mount;
}

// An entry of a file system we have just made; its names are the kernel's.
Result<UniqueFd> entry_of(int mount, const char* name) { return sys::openat(mount, name, O_PATH | O_NOFOLLOW); }

Result<void> hide(int mount, const char* name) {
  auto entry = entry_of(mount, name);
  if (!entry) return entry.error().error_number() == ENOENT ? Result<void>{} : std::unexpected(entry.error());
  TRY_ASSIGN(const struct stat st, sys::fstat(entry->get()));
  UniqueFd cover;
  if (S_ISDIR(st.st_mode)) {
    TRY_ASSIGN(cover, new_mount("tmpfs", {{"size", "0"}, {"nr_inodes", "2"}}, kInert | MOUNT_ATTR_RDONLY));
  } else {
    TRY_ASSIGN(cover, clone_mount(AT_FDCWD, "/dev/null", kNoSuid | kNoExec));
  }
  return attach_mount(cover.get(), entry->get());
}

Result<void> protect(int mount, const char* name) {
  auto entry = entry_of(mount, name);
  if (!entry) return entry.error().error_number() == ENOENT ? Result<void>{} : std::unexpected(entry.error());
  TRY_ASSIGN(const UniqueFd copy, clone_mount(entry->get(), "", kInert | MOUNT_ATTR_RDONLY));
  return attach_mount(copy.get(), entry->get());
}

Result<void> make_node(int directory, const char* name, mode_t type_and_mode, dev_t device) {
  if (::mknodat(directory, name, type_and_mode, device) < 0) return fail_errno("mknod /dev/{}", name);
  return {};
}

// Privileged containers get every device of the VM, but the agent's own channel. One level of directories: net/tun, cpu/0, …
Result<void> copy_devices(int from, int to, int depth) {
  TRY_ASSIGN(UniqueFd listing, sys::openat(from, ".", O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(listing.get()), ::closedir);
  if (!stream) return fail_errno("list /dev");
  (void)listing.release();
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    constexpr std::array<std::string_view, 7> kOwn = {".", "..", "pts", "shm", "mqueue", "ptmx", "console"};
    if (std::ranges::find(kOwn, name) != kOwn.end() || name.starts_with("vport")) continue;
    struct stat st = {};
    if (::fstatat(from, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) continue;
    if (S_ISDIR(st.st_mode) && depth < 2) {
      if (::mkdirat(to, entry->d_name, 0755) < 0) return fail_errno("mkdir /dev/{}", name);
      TRY_ASSIGN(const UniqueFd inner_from, sys::openat(from, entry->d_name, O_PATH | O_DIRECTORY));
      TRY_ASSIGN(const UniqueFd inner_to, sys::openat(to, entry->d_name, O_PATH | O_DIRECTORY));
      TRY(copy_devices(inner_from.get(), inner_to.get(), depth + 1));
    } else if ((S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) && ::faccessat(to, entry->d_name, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
      TRY(make_node(to, entry->d_name, st.st_mode, st.st_rdev));
    }
  }
  return {};
}

Result<void> mount_dev(int root, bool privileged, int pty_mount) {
  TRY_ASSIGN(UniqueFd made, new_mount("tmpfs", {{"mode", "755"}, {"size", "65536k"}}, kNoSuid | MOUNT_ATTR_STRICTATIME));
  TRY_ASSIGN(const UniqueFd dev, mount_in_root(root, "/dev", std::move(made)));
  for (const Node& node : kNodes) TRY(make_node(dev.get(), node.name, S_IFCHR | 0666, makedev(node.major, node.minor)));
  for (const DeviceLink& link : kLinks) {
    if (::symlinkat(link.target, dev.get(), link.name) < 0) return fail_errno("link /dev/{}", link.name);
  }
  for (const char* name : {"pts", "shm", "mqueue"}) {
    if (::mkdirat(dev.get(), name, 0755) < 0) return fail_errno("mkdir /dev/{}", name);
  }
  if (privileged) {
    TRY_ASSIGN(const UniqueFd ours, sys::open("/dev", O_PATH | O_DIRECTORY));
    TRY(copy_devices(ours.get(), dev.get(), 0));
  }
  TRY_ASSIGN(const UniqueFd pts, entry_of(dev.get(), "pts"));
  TRY(attach_mount(pty_mount, pts.get()));
  TRY_ASSIGN(const UniqueFd mqueue, entry_of(dev.get(), "mqueue"));
  TRY_ASSIGN(const UniqueFd mqueue_mount, new_mount("mqueue", {}, kInert));
  return attach_mount(mqueue_mount.get(), mqueue.get());
}

Result<void> complete_dev(int root, std::uint64_t shm_bytes, int console) {
  TRY_ASSIGN(const UniqueFd dev, open_in_root(root, "/dev", O_PATH | O_DIRECTORY));
  TRY_ASSIGN(const UniqueFd shm, entry_of(dev.get(), "shm"));
  const std::string size = std::to_string(shm_bytes);
  TRY_ASSIGN(const UniqueFd shm_mount, new_mount("tmpfs", {{"mode", "1777"}, {"size", size.c_str()}}, kInert));
  TRY(attach_mount(shm_mount.get(), shm.get()));
  if (console >= 0) {
    TRY(sys::openat(dev.get(), "console", O_WRONLY | O_CREAT | O_EXCL, 0620));
    TRY_ASSIGN(const UniqueFd target, entry_of(dev.get(), "console"));
    TRY_ASSIGN(const UniqueFd terminal, clone_mount(console, "", kNoSuid | kNoExec));
    TRY(attach_mount(terminal.get(), target.get()));
  }
  return {};
}

// See identity.h. On the file system that nobody else of the image or the user mounts over.
Result<void> begin_generation(int root) {
  TRY_ASSIGN(const UniqueFd dev, open_in_root(root, "/dev", O_PATH | O_DIRECTORY));
  TRY_ASSIGN(const UniqueFd file, sys::openat(dev.get(), kGenerationName, O_WRONLY | O_CREAT | O_EXCL, 0444));
  return sys::write_all(file.get(), sys::random_hex(16) + "\n");
}

Result<void> mount_proc_and_sys(int root, bool privileged) {
  TRY_ASSIGN(UniqueFd made_proc, new_mount("proc", {}, kInert));
  TRY_ASSIGN(const UniqueFd proc, mount_in_root(root, "/proc", std::move(made_proc)));
  const unsigned read_only = privileged ? 0 : MOUNT_ATTR_RDONLY;
  TRY_ASSIGN(UniqueFd made_sys, new_mount("sysfs", {}, kInert | read_only));
  TRY_ASSIGN(const UniqueFd sys, mount_in_root(root, "/sys", std::move(made_sys)));
  TRY_ASSIGN(const UniqueFd cgroup, entry_of(sys.get(), "fs/cgroup"));
  TRY_ASSIGN(const UniqueFd cgroup_mount, new_mount("cgroup2", {}, kInert | read_only));
  TRY(attach_mount(cgroup_mount.get(), cgroup.get()));
  if (privileged) return {};
  for (const char* name : kMaskedProc) TRY(hide(proc.get(), name));
  for (const char* name : kReadonlyProc) TRY(protect(proc.get(), name));
  for (const char* name : kMaskedSys) TRY(hide(sys.get(), name));
  return {};
}

// /etc/hosts and its like are files of a small tmpfs, mounted over whatever the image has: they change from start to start and
// must not end up on the disk.
constexpr const char* kEtcFiles[] = {"hosts", "hostname", "resolv.conf"};

Result<void> mount_etc_files(int root) {
  TRY_ASSIGN(const UniqueFd files, new_mount("tmpfs", {{"mode", "755"}, {"size", "8m"}}, kNoSuid | kNoDev));
  TRY(attach_mount(files.get(), kScratch));  // only an attached mount can be cloned; pivot_root leaves this place behind
  for (const char* name : kEtcFiles) {
    TRY(sys::openat(files.get(), name, O_WRONLY | O_CREAT | O_EXCL, 0644));
    TRY_ASSIGN(const UniqueFd target, ensure_in_root(root, fmt::format("/etc/{}", name), EntryKind::kFile));
    TRY_ASSIGN(const UniqueFd mount, clone_mount(files.get(), name, 0));
    TRY(attach_mount(mount.get(), target.get()));
  }
  return {};
}

Result<void> write_etc_files(const ContainerOptions& options) {
  TRY_ASSIGN(const UniqueFd files, sys::open(kScratch, O_PATH | O_DIRECTORY));
  const std::string contents[] = {options.hosts, options.hostname + "\n", options.resolv_conf};
  for (std::size_t i = 0; i < std::size(kEtcFiles); ++i) {
    TRY_ASSIGN(const UniqueFd file, sys::openat(files.get(), kEtcFiles[i], O_WRONLY));
    TRY(sys::write_all(file.get(), contents[i]));
  }
  return {};
}

Result<void> mount_privileged_tmpfs(int root) {
  TRY_ASSIGN(UniqueFd run, new_mount("tmpfs", {{"mode", "755"}}, kNoSuid | kNoDev));
  TRY(mount_in_root(root, "/run", std::move(run)));
  TRY_ASSIGN(UniqueFd tmp, new_mount("tmpfs", {{"mode", "1777"}}, kNoSuid | kNoDev));
  TRY(mount_in_root(root, "/tmp", std::move(tmp)));
  return {};
}

Result<void> mount_tmpfs(int root, const Tmpfs& tmpfs) {
  std::vector<std::pair<const char*, const char*>> settings;
  for (const auto& [key, value] : tmpfs.settings) settings.emplace_back(key.c_str(), value.c_str());
  TRY_ASSIGN(UniqueFd made, new_mount("tmpfs", settings, tmpfs.attributes));
  TRY(mount_in_root(root, tmpfs.path.c_str(), std::move(made)));
  return {};
}

// As docker does: what is mounted on a directory of another mount comes after that.
Result<void> mount_asked_for(int root, const ContainerOptions& options, const Command& command) {
  std::multimap<std::ptrdiff_t, std::function<Result<void>()>> by_depth;
  const auto add = [&by_depth](const std::string& path, std::function<Result<void>()> mount) {
    by_depth.emplace(std::ranges::count(path, '/'), std::move(mount));
  };
  for (const Tmpfs& tmpfs : options.tmpfs) add(tmpfs.path, [root, &tmpfs] { return mount_tmpfs(root, tmpfs); });
  if (!options.volumes.empty()) {
    // Whom the files of an ordinary user's volume belong to; a name that is not there is told when the command is to start.
    const auto user = resolve_user(root, command.user);
    const std::string owner = user ? fmt::format("{}:{}", user->uid, user->gid) : "0:0";
    for (const VolumeMount& volume : options.volumes)
      add(volume.path, [root, &volume, owner] { return mount_volume(root, volume, owner); });
  }
  for (const auto& [depth, mount] : by_depth) TRY(mount());
  return {};
}

// The mount, not the file system: the agent seals that at the end. What is mounted on it stays as it is.
Result<void> protect_root(int root, const std::string& working_dir) {
  (void)ensure_in_root(root, working_dir, EntryKind::kDirectory);  // if it cannot be, the command is told so when it is to enter
  mount_attr change = {};
  change.attr_set = MOUNT_ATTR_RDONLY;
  if (::mount_setattr(root, "", AT_EMPTY_PATH, &change, sizeof change) < 0) return fail_errno("make the root read-only");
  return {};
}

}  // namespace

Result<void> build_container_root(bool privileged, int pty_mount) {
  const mode_t old_mask = ::umask(0);
  const Defer restore_mask([old_mask] { ::umask(old_mask); });
  // Opened here, not by the agent: it must be the mount of this namespace.
  TRY_ASSIGN(const UniqueFd root, sys::open(kRootMount, O_PATH | O_DIRECTORY));
  TRY(mount_proc_and_sys(root.get(), privileged));
  TRY(mount_dev(root.get(), privileged, pty_mount));
  if (privileged) TRY(mount_privileged_tmpfs(root.get()));
  return mount_etc_files(root.get());
}

Result<UniqueFd> new_terminals() {
  return new_mount("devpts", {{"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
}

Result<void> enter_container_root(const ContainerOptions& options, const Command& command, int console) {
  const mode_t old_mask = ::umask(0);
  const Defer restore_mask([old_mask] { ::umask(old_mask); });
  TRY_ASSIGN(const UniqueFd root, sys::open(kRootMount, O_PATH | O_DIRECTORY));
  TRY(complete_dev(root.get(), options.shm_bytes, console));
  TRY(write_etc_files(options));
  TRY(begin_generation(root.get()));
  for (const std::string& path : options.directories) TRY(ensure_in_root(root.get(), path, EntryKind::kDirectory));
  TRY(mount_asked_for(root.get(), options, command));
  if (options.read_only) TRY(protect_root(root.get(), command.working_dir));
  // pivot_root(".", "."): the old root ends up stacked on the new one and is detached from there; no directory is needed for it.
  if (::fchdir(root.get()) < 0) return fail_errno("enter the root disk");
  if (::syscall(SYS_pivot_root, ".", ".") < 0) return fail_errno("pivot_root");
  if (::umount2(".", MNT_DETACH) < 0) return fail_errno("detach the old root");
  if (::chdir("/") < 0) return fail_errno("chdir /");
  if (::sethostname(options.hostname.data(), options.hostname.size()) < 0) return fail_errno("sethostname");
  return {};
}

}  // namespace boxlite::agent

#include "agent/identity.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <string_view>

#include "agent/in_root.h"
#include "base/defer.h"
#include "base/sys.h"

namespace boxlite::agent {
namespace {

// The agent has one thread: for this moment it is in the container's UTS namespace.
Result<void> rename_host(pid_t main, const std::string& name) {
  TRY_ASSIGN(const UniqueFd own, sys::open("/proc/self/ns/uts", O_RDONLY));
  TRY_ASSIGN(const UniqueFd container, sys::open(fmt::format("/proc/{}/ns/uts", main), O_RDONLY));
  if (::setns(container.get(), CLONE_NEWUTS) < 0) return fail_errno("enter the container's UTS namespace");
  const Defer back([&own] { (void)::setns(own.get(), CLONE_NEWUTS); });
  if (::sethostname(name.data(), name.size()) < 0) return fail_errno("sethostname");
  return {};
}

// In place: others have the file open, mounted, or watched. What the box has made something else of is left alone.
Result<void> rewrite(int root, const std::string& path, std::string_view contents) {
  const auto file = open_in_root(root, path, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  if (!file) return {};
  TRY_ASSIGN(const struct stat st, sys::fstat(file->get()));
  if (!S_ISREG(st.st_mode)) return {};
  if (::ftruncate(file->get(), 0) < 0) return fail_errno("empty {}", path);
  return sys::write_all(file->get(), contents);
}

}  // namespace

Result<void> take_identity(pid_t main, const ContainerOptions& options, bool another_box) {
  TRY(rename_host(main, options.hostname));
  TRY_ASSIGN(const UniqueFd root, sys::open(fmt::format("/proc/{}/root", main), O_PATH | O_DIRECTORY));
  TRY(rewrite(root.get(), "/etc/hosts", options.hosts));
  TRY(rewrite(root.get(), "/etc/hostname", options.hostname + "\n"));
  TRY(rewrite(root.get(), "/etc/resolv.conf", options.resolv_conf));
  // One that is empty is made at the first boot, by whoever wants one: machine-id(5).
  const auto id = read_in_root(root.get(), "/etc/machine-id", 4096);
  if (another_box && id && *id && (*id)->size() >= 32) TRY(rewrite(root.get(), "/etc/machine-id", sys::random_hex(16) + "\n"));
  return rewrite(root.get(), fmt::format("/dev/{}", kGenerationName), sys::random_hex(16) + "\n");
}

}  // namespace boxlite::agent

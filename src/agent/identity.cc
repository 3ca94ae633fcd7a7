#include "agent/identity.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
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

// In place: others have the file open, mounted, or watched. A file that is none, or is missing, stays as it is.
Result<void> rewrite(int root, const std::string& path, std::string_view contents) {
  const auto file = open_in_root(root, path, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  if (!file && file.error().error_number() == ENOENT) return {};
  if (!file) return std::unexpected(file.error());
  TRY_ASSIGN(const struct stat st, sys::fstat(file->get()));
  if (!S_ISREG(st.st_mode)) return {};
  // What is overwritten needs no room on a full disk.
  TRY(sys::write_all(file->get(), contents));
  if (::ftruncate(file->get(), static_cast<off_t>(contents.size())) < 0) return fail_errno("cut {}", path);
  return {};
}

// What boxlite has written there; what the box has written before, behind or instead of it stays.
Result<void> replace_in(int root, const std::string& path, const std::string& before, const std::string& now) {
  constexpr std::size_t kMost = std::size_t{1} << 20U;
  if (before == now || before.empty()) return {};
  TRY_ASSIGN(std::optional<std::string> text, read_in_root(root, path, kMost));
  if (!text) return {};
  const std::size_t at = text->find(before);
  if (at == std::string::npos) return {};
  return rewrite(root, path, text->replace(at, before.size(), now));
}

// One that is empty is made at the first boot, by whoever wants one: machine-id(5).
Result<void> change_machine_id(int root) {
  const auto id = read_in_root(root, "/etc/machine-id", 4096);
  if (!id || !*id || (*id)->size() < 32) return {};
  return rewrite(root, "/etc/machine-id", sys::random_hex(16) + "\n");
}

}  // namespace

Result<void> take_identity(pid_t main, const ContainerOptions& before, const ContainerOptions& now, bool another_box) {
  TRY_ASSIGN(const UniqueFd root, sys::open(fmt::format("/proc/{}/root", main), O_PATH | O_DIRECTORY));
  Result<void> all;
  const auto note = [&all](Result<void> done) {
    if (all && !done) all = std::move(done);
  };
  note(rewrite(root.get(), fmt::format("/dev/{}", kGenerationName), sys::random_hex(16) + "\n"));
  if (another_box) note(change_machine_id(root.get()));
  if (before.hostname != now.hostname) note(rename_host(main, now.hostname));
  note(replace_in(root.get(), "/etc/hostname", before.hostname + "\n", now.hostname + "\n"));
  note(replace_in(root.get(), "/etc/hosts", before.hosts, now.hosts));
  note(replace_in(root.get(), "/etc/resolv.conf", before.resolv_conf, now.resolv_conf));
  return all;
}

}  // namespace boxlite::agent

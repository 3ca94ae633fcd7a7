// Options that are written as text, in docker's notation, and what they mean to the guest. Every error names the flag and the
// value; what has passed validate_options() has no error here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "boxlite/box_options.h"

namespace boxlite {

struct Ulimit {
  std::uint32_t resource = 0;  // RLIMIT_* of Linux on x86-64
  std::uint64_t soft = 0;      // ~0: unlimited
  std::uint64_t hard = 0;
};
/// "nofile=1024", "nofile=1024:4096", "core=-1".
Result<Ulimit> parse_ulimit(std::string_view text);

struct TmpfsOptions {
  bool read_only = false;
  bool exec = false;
  bool suid = false;
  bool dev = false;
  std::vector<std::pair<std::string, std::string>> settings;  // of the file system: {"size", "64m"}
};
/// "rw,size=64m,mode=1777,exec" over docker's defaults: mode 1777, noexec, nosuid, nodev.
Result<TmpfsOptions> parse_tmpfs(std::string_view path, std::string_view options);

/// Bit n: capability n. The box has (docker's default or, privileged, all) without `drop`, and `add`.
struct CapabilityChange {
  std::uint64_t add = 0;
  std::uint64_t drop = 0;
};
Result<CapabilityChange> capability_change(const std::vector<std::string>& add, const std::vector<std::string>& drop);

/// "db:10.0.0.7", "db=::1", "db:[::1]" as a line of /etc/hosts.
Result<std::string> hosts_line(std::string_view text);

/// The lines of /etc/resolv.conf. `host_domains`: where the host searches names, for a box that says nothing about it.
std::vector<std::string> resolv_conf_lines(const BoxOptions& options, const std::vector<std::string>& host_domains);

/// The options above and host name, name servers, labels, shared memory, stop signal.
Result<void> validate_container_options(const BoxOptions& options);

}  // namespace boxlite

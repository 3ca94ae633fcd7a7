#include "cli/box_flags.h"

#include <unistd.h>

#include <algorithm>

#include "cli/env_file.h"
#include "cli/terminal.h"
#include "cli/values.h"

namespace boxlite::cli {

void BoxFlags::add_to(FlagSet& flags) {
  flags.flag("-i,--interactive", interactive_, "Keep the command's standard input open");
  flags.flag("-t,--tty", tty_, "Give the command a terminal");
  flags.flag("--rm", auto_remove_, "Remove the box when its command has ended");
  flags.value("--name", "NAME", name_, "Name of the box (default: one is made up)");
  flags.list("-e,--env", "NAME[=VALUE]", env_, "Set a variable; without =VALUE it is taken from here");
  flags.list("--env-file", "FILE", env_files_, "Set variables from lines NAME[=VALUE]; --env overrides them");
  flags.value("-w,--workdir", "DIR", working_dir_, "Working directory of the command");
  flags.value("-u,--user", "USER[:GROUP]", user_, "User of the command, names or numbers");
  flags.value("--rootfs", "DIR", rootfs_, "A directory of this host as the root, copied, instead of an IMAGE");
  flags.value("--entrypoint", "PROGRAM", entrypoint_, "Replace the image's entrypoint; \"\" drops it");
  flags.value("--cpus", "NUMBER", cpus_, "Whole CPUs (default 1)");
  flags.value("-m,--memory", "SIZE", memory_, "Memory (default 512m)");
  flags.value("--disk-size", "SIZE", disk_size_, "Size of the root disk (default 10g)");
  flags.flag("--privileged", privileged_, "All capabilities and devices of its own VM, none of the host's");
  flags.value("--security", "strict|default", security_, "strict: start only with every layer of isolation (see info)");
  flags.flag("--init", init_, "PID 1 is an init that passes signals on and reaps");
  flags.value("-h,--hostname", "NAME", hostname_, "Host name (default: the box's id)");
  flags.list("--add-host", "NAME:ADDRESS", add_hosts_, "A line for /etc/hosts");
  flags.list("--dns", "ADDRESS", dns_, "A name server");
  flags.list("--dns-search", "DOMAIN", dns_search_, "A domain to search names in");
  flags.list("--dns-option", "OPTION", dns_options_, "An option for resolv.conf");
  flags.list("-p,--publish", "[[IP:]HOST:]BOX[/udp]", publish_, "Let a port of this host lead to one of the box");
  flags.flag("-P,--publish-all", publish_all_, "The same for all ports the image exposes, on free ports of this host");
  flags.value("--network", "none|default", network_, "none: no network device");
  flags.flag("--host-access", host_access_, "host.boxlite.internal leads to this host's loopback");
  flags.list("--allow-net", "CIDR[:PORT]", allow_net_, "The box reaches only these addresses");
  flags.value("--net-tx-kbps", "NUMBER", net_tx_kbps_, "Limit of what the box sends, in kbit/s");
  flags.value("--net-rx-kbps", "NUMBER", net_rx_kbps_, "Limit of what the box receives, in kbit/s");
  flags.list("-l,--label", "NAME[=VALUE]", labels_, "A label for ls --filter and inspect");
  flags.list("--ulimit", "NAME=SOFT[:HARD]", ulimits_, "A limit of the command; -1 is unlimited");
  flags.list("--cap-add", "CAPABILITY", cap_add_, "Add a capability, or ALL");
  flags.list("--cap-drop", "CAPABILITY", cap_drop_, "Drop a capability, or ALL");
  flags.flag("--read-only", read_only_, "The root file system is read-only");
  flags.list("-v,--volume", "[SOURCE:]DIR[:OPTIONS]", volumes_, "Mount a directory or file of the host, or a volume");
  flags.list("--mount", "type=TYPE,...", mounts_, "The same: type=bind|volume,source=...,target=...[,readonly]");
  flags.list("--tmpfs", "DIR[:OPTIONS]", tmpfs_, "Mount a tmpfs");
  flags.value("--shm-size", "SIZE", shm_size_, "Size of /dev/shm (default 64m)");
  flags.value("--stop-signal", "SIGNAL", stop_signal_, "What stop sends (default: the image's, else TERM)");
  flags.value("--stop-timeout", "SECONDS", stop_timeout_, "What stop waits before SIGKILL (default 10)");
  flags.value("--timeout", "SECONDS", timeout_, "End the box after that, with status 124");
}

Result<BoxOptions> BoxFlags::options(const FlagSet& flags, const std::vector<std::string>& operands) const {
  if (!rootfs_ && operands.empty()) return flags.usage_error("no IMAGE was given");
  BoxOptions result;
  result.image = rootfs_ ? "rootfs:" + *rootfs_ : operands.front();
  if (result.image.empty()) return flags.usage_error("the IMAGE is empty");
  result.command = command_after_separator({operands.begin() + (rootfs_ ? 0 : 1), operands.end()});
  if (name_) {
    if (name_->empty())
      return fail(ErrorCode::kInvalidArgument, "--name \"\": a name must not be empty; leave the flag out to get one");
    result.name = *name_;
  }
  if (entrypoint_) {
    result.entrypoint.emplace();
    if (!entrypoint_->empty()) result.entrypoint->push_back(*entrypoint_);
  }
  TRY_ASSIGN(result.env, read_environment(env_files_, env_));
  result.working_dir = working_dir_.value_or("");
  result.user = user_.value_or("");
  TRY(set_machine(result));
  TRY(set_container(result));
  TRY(set_network(result));
  result.tty = tty_;
  result.open_stdin = interactive_;
  result.privileged = privileged_;
  result.auto_remove = auto_remove_;
  TRY(validate_options(result));
  return result;
}

Result<void> BoxFlags::set_machine(BoxOptions& result) const {
  if (cpus_) {
    TRY_ASSIGN(result.cpus, parse_cpus("--cpus", *cpus_));
  }
  if (memory_) {
    TRY_ASSIGN(const std::uint64_t bytes, parse_size("--memory", *memory_));
    result.memory_mib = (bytes + kMiB - 1) / kMiB;
  }
  if (disk_size_) {
    TRY_ASSIGN(result.disk_bytes, parse_size("--disk-size", *disk_size_));
    if (result.disk_bytes == 0) return fail(ErrorCode::kInvalidArgument, "--disk-size {}: a disk must not be empty", *disk_size_);
  }
  return {};
}

Result<void> BoxFlags::set_container(BoxOptions& result) const {
  if (hostname_ && hostname_->empty())
    return fail(ErrorCode::kInvalidArgument, "--hostname \"\": a host name must not be empty; leave the flag out");
  if (stop_signal_ && stop_signal_->empty())
    return fail(ErrorCode::kInvalidArgument, "--stop-signal \"\": not a signal; use a name like TERM, or leave the flag out");
  if (security_ && security_->empty()) return fail(ErrorCode::kInvalidArgument, "--security \"\": there are strict and default");
  if (security_ && *security_ != "default") result.security = *security_;
  result.init = init_;
  result.hostname = hostname_.value_or("");
  result.add_hosts = add_hosts_;
  result.dns = dns_;
  result.dns_search = dns_search_;
  result.dns_options = dns_options_;
  for (const std::string& label : labels_) {
    const std::size_t equals = std::min(label.find('='), label.size());
    result.labels[label.substr(0, equals)] = label.substr(std::min(equals + 1, label.size()));
  }
  result.ulimits = ulimits_;
  result.cap_add = cap_add_;
  result.cap_drop = cap_drop_;
  result.read_only = read_only_;
  for (const std::string& tmpfs : tmpfs_) {
    const std::size_t colon = std::min(tmpfs.find(':'), tmpfs.size());
    result.tmpfs[tmpfs.substr(0, colon)] = tmpfs.substr(std::min(colon + 1, tmpfs.size()));
  }
  result.volumes = volumes_;
  result.mounts = mounts_;
  if (shm_size_) {
    TRY_ASSIGN(result.shm_bytes, parse_size("--shm-size", *shm_size_));
  }
  result.stop_signal = stop_signal_.value_or("");
  if (stop_timeout_) {
    TRY_ASSIGN(const std::chrono::seconds seconds, parse_seconds("--stop-timeout", *stop_timeout_));
    result.stop_seconds = static_cast<unsigned>(seconds.count());
  }
  if (timeout_) {
    TRY_ASSIGN(const std::chrono::seconds seconds, parse_seconds("--timeout", *timeout_));
    result.timeout_seconds = static_cast<unsigned>(seconds.count());
  }
  return {};
}

Result<void> BoxFlags::set_network(BoxOptions& result) const {
  if (network_) result.network = *network_ == "default" ? "" : *network_;
  if (network_ && network_->empty())
    return fail(ErrorCode::kInvalidArgument, "--network \"\": not a network; there are none and default");
  result.publish = publish_;
  result.publish_all = publish_all_;
  result.host_access = host_access_;
  result.allow_net = allow_net_;
  if (net_tx_kbps_) {
    TRY_ASSIGN(result.net_tx_kbps, parse_rate("--net-tx-kbps", *net_tx_kbps_));
  }
  if (net_rx_kbps_) {
    TRY_ASSIGN(result.net_rx_kbps, parse_rate("--net-rx-kbps", *net_rx_kbps_));
  }
  return {};
}

std::vector<std::string> command_after_separator(std::vector<std::string> words) {
  if (!words.empty() && words.front() == "--") words.erase(words.begin());
  return words;
}

Result<void> check_terminal_input(bool interactive, bool tty) {
  if (interactive && tty && !is_terminal(STDIN_FILENO)) {
    return fail(ErrorCode::kInvalidArgument, "the input device is not a TTY; leave -t out, or run this from a terminal");
  }
  return {};
}

}  // namespace boxlite::cli

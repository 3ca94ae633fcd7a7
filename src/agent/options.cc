#include "agent/options.h"

#include <arpa/inet.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

namespace boxlite::agent {
namespace {

constexpr std::size_t kMaxLines = 1024;
constexpr std::size_t kMaxLine = 4096;
constexpr std::size_t kMaxPath = 4095;
constexpr std::size_t kMaxHostname = 63;
constexpr std::size_t kMaxUser = 256;
constexpr std::uint64_t kMaxTimeoutMs = std::uint64_t{366} * 24 * 3600 * 1000;
constexpr std::uint64_t kShmBytes = std::uint64_t{64} << 20U;
constexpr unsigned kMinMtu = 1280;  // IPv6's least
constexpr unsigned kMaxMtu = 65535;
constexpr std::uint64_t kOpenFiles = 1048576;
constexpr const char* kDefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

std::string_view name_of(std::string_view entry) { return entry.substr(0, entry.find('=')); }

template <typename Lines>
Result<std::string> join_lines(const Lines& lines, std::string_view what) {
  if (static_cast<std::size_t>(lines.size()) > kMaxLines) {
    return fail(ErrorCode::kInvalidArgument, "{} has more than {} lines", what, kMaxLines);
  }
  std::string text;
  for (const std::string& line : lines) {
    if (line.size() > kMaxLine || has_nul(line) || line.find('\n') != std::string::npos) {
      return fail(ErrorCode::kInvalidArgument, "a line for {} is longer than {} bytes or holds a line break", what, kMaxLine);
    }
    text += line;
    text += '\n';
  }
  return text;
}

bool is_hostname(std::string_view text) {
  const auto ok = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  };
  return !text.empty() && text.size() <= kMaxHostname && std::ranges::all_of(text, ok);
}

constexpr std::uint64_t bit(int capability) { return std::uint64_t{1} << static_cast<unsigned>(capability); }

constexpr std::uint64_t kDockerCapabilities = bit(CAP_CHOWN) | bit(CAP_DAC_OVERRIDE) | bit(CAP_FSETID) | bit(CAP_FOWNER) |
                                              bit(CAP_MKNOD) | bit(CAP_NET_RAW) | bit(CAP_SETGID) | bit(CAP_SETUID) |
                                              bit(CAP_SETFCAP) | bit(CAP_SETPCAP) | bit(CAP_NET_BIND_SERVICE) |
                                              bit(CAP_SYS_CHROOT) | bit(CAP_KILL) | bit(CAP_AUDIT_WRITE);

Result<std::vector<Tmpfs>> parse_tmpfs(const proto::Configure& configure) {
  std::vector<Tmpfs> list;
  for (const proto::Tmpfs& asked : configure.tmpfs()) {
    if (!asked.path().starts_with('/') || asked.path().size() > kMaxPath || has_nul(asked.path())) {
      return fail(ErrorCode::kInvalidArgument, "tmpfs {}: not an absolute path", asked.path());
    }
    Tmpfs tmpfs = {.path = asked.path(), .attributes = 0, .settings = {asked.settings().begin(), asked.settings().end()}};
    if (asked.read_only()) tmpfs.attributes |= MOUNT_ATTR_RDONLY;
    if (!asked.exec()) tmpfs.attributes |= MOUNT_ATTR_NOEXEC;
    if (!asked.suid()) tmpfs.attributes |= MOUNT_ATTR_NOSUID;
    if (!asked.dev()) tmpfs.attributes |= MOUNT_ATTR_NODEV;
    list.push_back(std::move(tmpfs));
  }
  return list;
}

Result<std::vector<VolumeMount>> parse_volumes(const proto::Configure& configure) {
  std::vector<VolumeMount> list;
  for (const proto::VolumeMount& asked : configure.volumes()) {
    if (!asked.path().starts_with('/') || asked.path().size() > kMaxPath || has_nul(asked.path())) {
      return fail(ErrorCode::kInvalidArgument, "volume {}: not an absolute path", asked.path());
    }
    list.push_back({.index = asked.index(),
                    .path = asked.path(),
                    .read_only = asked.read_only(),
                    .file = asked.file(),
                    .populate = asked.populate()});
  }
  return list;
}

Result<std::vector<std::string>> parse_directories(const proto::Configure& configure) {
  for (const std::string& path : configure.directories()) {
    if (!path.starts_with('/') || path.size() > kMaxPath || has_nul(path)) {
      return fail(ErrorCode::kInvalidArgument, "directory {}: not an absolute path", path);
    }
  }
  return std::vector<std::string>(configure.directories().begin(), configure.directories().end());
}

Result<std::vector<Ulimit>> parse_ulimits(const proto::Configure& configure) {
  std::vector<Ulimit> list = {{RLIMIT_NOFILE, kOpenFiles, kOpenFiles}};
  for (const proto::Ulimit& asked : configure.ulimits()) {
    if (asked.resource() >= RLIM_NLIMITS) return fail(ErrorCode::kInvalidArgument, "there is no limit {}", asked.resource());
    list.push_back({asked.resource(), asked.soft(), asked.hard()});
  }
  return list;
}

bool is_address(int family, const std::string& text) {
  std::array<std::byte, sizeof(in6_addr)> parsed;
  return ::inet_pton(family, text.c_str(), parsed.data()) == 1;
}

Result<std::optional<NetworkOptions>> parse_network(const proto::Configure& configure) {
  if (!configure.has_network()) return std::nullopt;
  const proto::Network& asked = configure.network();
  const bool has6 = !asked.address6().empty();
  const bool valid =
      is_address(AF_INET, asked.address4()) && is_address(AF_INET, asked.gateway4()) && asked.prefix4() <= 32 &&
      (!has6 || (is_address(AF_INET6, asked.address6()) && is_address(AF_INET6, asked.gateway6()) && asked.prefix6() <= 128)) &&
      asked.mtu() >= kMinMtu && asked.mtu() <= kMaxMtu;
  if (!valid) return fail(ErrorCode::kInvalidArgument, "the network's addresses or its MTU cannot be right");
  return NetworkOptions{.address4 = asked.address4(),
                        .prefix4 = asked.prefix4(),
                        .gateway4 = asked.gateway4(),
                        .address6 = asked.address6(),
                        .prefix6 = asked.prefix6(),
                        .gateway6 = asked.gateway6(),
                        .mtu = asked.mtu()};
}

}  // namespace

Result<WindowSize> parse_window(std::uint32_t rows, std::uint32_t columns) {
  constexpr std::uint32_t kMax = std::numeric_limits<std::uint16_t>::max();
  if (rows > kMax || columns > kMax) {
    return fail(ErrorCode::kInvalidArgument, "a terminal of {} rows and {} columns is too large", rows, columns);
  }
  return WindowSize{static_cast<std::uint16_t>(rows), static_cast<std::uint16_t>(columns)};
}

Result<std::uint16_t> parse_port(std::uint32_t port) {
  if (port < 1 || port > std::numeric_limits<std::uint16_t>::max())
    return fail(ErrorCode::kInvalidArgument, "{} is not a port", port);
  return static_cast<std::uint16_t>(port);
}

Result<Command> parse_command(const proto::Process& process) {
  Command command;
  if (process.args().empty() || process.args(0).empty()) return fail(ErrorCode::kInvalidArgument, "no command given");
  for (const std::string& arg : process.args()) {
    if (has_nul(arg)) return fail(ErrorCode::kInvalidArgument, "an argument holds a NUL byte");
    command.args.push_back(arg);
  }
  for (const std::string& entry : process.env()) {
    if (has_nul(entry) || entry.find('=') == std::string::npos || entry.starts_with('=')) {
      // The value may be a secret: never in a message.
      return fail(ErrorCode::kInvalidArgument, "environment entry {} is not NAME=value", command.env.size() + 1);
    }
    command.env.push_back(entry);
  }
  if (!process.working_dir().empty()) command.working_dir = process.working_dir();
  if (!command.working_dir.starts_with('/') || command.working_dir.size() > kMaxPath || has_nul(command.working_dir)) {
    return fail(ErrorCode::kInvalidArgument, "the working directory \"{}\" is not an absolute path", command.working_dir);
  }
  command.user = process.user();
  if (command.user.size() > kMaxUser || has_nul(command.user) || command.user.find('\n') != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument, "the user name is longer than {} bytes or holds a line break", kMaxUser);
  }
  command.tty = process.tty();
  command.open_stdin = process.open_stdin();
  TRY_ASSIGN(const WindowSize size, parse_window(process.rows(), process.cols()));
  command.rows = size.rows;
  command.columns = size.columns;
  if (process.timeout_ms() > kMaxTimeoutMs) {
    return fail(ErrorCode::kInvalidArgument, "a timeout of {} ms is too long", process.timeout_ms());
  }
  command.timeout = std::chrono::milliseconds(process.timeout_ms());
  return command;
}

Result<ContainerOptions> parse_container(const proto::Configure& configure) {
  ContainerOptions options;
  if (!is_hostname(configure.hostname())) {
    return fail(ErrorCode::kInvalidArgument, "\"{}\" is not a host name (1 to {} letters, digits, '-', '.', '_')",
                configure.hostname(), kMaxHostname);
  }
  options.hostname = configure.hostname();
  options.privileged = configure.privileged();
  options.init = configure.init();
  options.read_only = configure.read_only();
  options.shm_bytes = configure.shm_bytes() != 0 ? configure.shm_bytes() : kShmBytes;
  options.capabilities = ((options.privileged ? ~std::uint64_t{0} : kDockerCapabilities) & ~configure.dropped_capabilities()) |
                         configure.added_capabilities();
  TRY_ASSIGN(options.tmpfs, parse_tmpfs(configure));
  TRY_ASSIGN(options.volumes, parse_volumes(configure));
  TRY_ASSIGN(options.directories, parse_directories(configure));
  TRY_ASSIGN(options.ulimits, parse_ulimits(configure));
  options.disk_bytes = configure.disk_bytes();
  TRY_ASSIGN(const std::string extra_hosts, join_lines(configure.extra_hosts(), "/etc/hosts"));
  TRY_ASSIGN(options.resolv_conf, join_lines(configure.resolv_conf(), "/etc/resolv.conf"));
  TRY_ASSIGN(options.network, parse_network(configure));
  const std::string own = options.network ? options.network->address4 : "127.0.1.1";
  // As docker: the short name of a long one too.
  const std::string& name = options.hostname;
  const std::string names = name.find('.') == std::string::npos ? name : name + " " + name.substr(0, name.find('.'));
  options.hosts = fmt::format(
      "127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\n"
      "fe00::0\tip6-localnet\n"
      "ff00::0\tip6-mcastprefix\n"
      "ff02::1\tip6-allnodes\n"
      "ff02::2\tip6-allrouters\n"
      "{}\t{}\n{}",
      own, names, extra_hosts);
  return options;
}

std::vector<std::string> complete_environment(const Command& command, const std::string& hostname, const std::string& home) {
  std::vector<std::string> env = {kDefaultPath, "HOSTNAME=" + hostname};
  if (command.tty) env.emplace_back("TERM=xterm");
  env.push_back("HOME=" + home);
  std::map<std::string, std::size_t, std::less<>> position;
  for (std::size_t i = 0; i < env.size(); ++i) position.emplace(name_of(env[i]), i);
  for (const std::string& entry : command.env) {
    const auto [same, is_new] = position.try_emplace(std::string(name_of(entry)), env.size());
    if (is_new) {
      env.push_back(entry);
    } else {
      env[same->second] = entry;
    }
  }
  return env;
}

}  // namespace boxlite::agent

#include "runtime/option_values.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <optional>

#include <fmt/ranges.h>

#include "base/signal_name.h"
#include "net/addresses.h"
#include "net/allow_rule.h"
#include "net/ip_address.h"
#include "net/reachability.h"
#include "runtime/mounts.h"
#include "runtime/published_ports.h"

namespace boxlite {
namespace {

constexpr std::size_t kMaxHostname = 63;
constexpr std::size_t kMaxDomain = 253;
constexpr std::size_t kMaxEntries = 256;  // of one option; the agent's bound for lines of a file is above it
constexpr std::size_t kMaxLabelBytes = 256 * 1024;
constexpr std::uint64_t kMaxKbps = 100'000'000;  // 100 Gbit/s
constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};
constexpr std::uint64_t kMaxOpenFiles = 1048576;  // fs.nr_open of the guest

constexpr std::array<std::string_view, 41> kCapabilities = {"CHOWN",
                                                            "DAC_OVERRIDE",
                                                            "DAC_READ_SEARCH",
                                                            "FOWNER",
                                                            "FSETID",
                                                            "KILL",
                                                            "SETGID",
                                                            "SETUID",
                                                            "SETPCAP",
                                                            "LINUX_IMMUTABLE",
                                                            "NET_BIND_SERVICE",
                                                            "NET_BROADCAST",
                                                            "NET_ADMIN",
                                                            "NET_RAW",
                                                            "IPC_LOCK",
                                                            "IPC_OWNER",
                                                            "SYS_MODULE",
                                                            "SYS_RAWIO",
                                                            "SYS_CHROOT",
                                                            "SYS_PTRACE",
                                                            "SYS_PACCT",
                                                            "SYS_ADMIN",
                                                            "SYS_BOOT",
                                                            "SYS_NICE",
                                                            "SYS_RESOURCE",
                                                            "SYS_TIME",
                                                            "SYS_TTY_CONFIG",
                                                            "MKNOD",
                                                            "LEASE",
                                                            "AUDIT_WRITE",
                                                            "AUDIT_CONTROL",
                                                            "SETFCAP",
                                                            "MAC_OVERRIDE",
                                                            "MAC_ADMIN",
                                                            "SYSLOG",
                                                            "WAKE_ALARM",
                                                            "BLOCK_SUSPEND",
                                                            "AUDIT_READ",
                                                            "PERFMON",
                                                            "BPF",
                                                            "CHECKPOINT_RESTORE"};
constexpr std::uint64_t kAllCapabilities = (std::uint64_t{1} << kCapabilities.size()) - 1;

constexpr std::pair<std::string_view, std::uint32_t> kResources[] = {
    {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},         {"fsize", RLIMIT_FSIZE},
    {"locks", RLIMIT_LOCKS},       {"memlock", RLIMIT_MEMLOCK},
    {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},     {"nproc", RLIMIT_NPROC},
    {"rss", RLIMIT_RSS},           {"rtprio", RLIMIT_RTPRIO},
    {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK}};

template <typename... Arguments>
std::unexpected<Error> bad(std::string_view flag, std::string_view value, fmt::format_string<Arguments...> why,
                           Arguments&&... arguments) {
  return fail(ErrorCode::kInvalidArgument, "{} {}: {}", flag, value.empty() ? "\"\"" : value,
              fmt::format(why, std::forward<Arguments>(arguments)...));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool is_host_name(std::string_view text, std::size_t limit) {
  const auto fits = [](char c) { return is_digit(c) || is_letter(c) || c == '-' || c == '.' || c == '_'; };
  return !text.empty() && text.size() <= limit && (is_digit(text[0]) || is_letter(text[0])) && std::ranges::all_of(text, fits);
}

template <typename Number>
std::optional<Number> number_of(std::string_view text, int base = 10) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<std::uint64_t> limit_of(std::string_view text) {
  if (text == "-1" || text == "unlimited") return kUnlimited;
  return number_of<std::uint64_t>(text);
}

/// tmpfs(5): a number with k, m, g or, of the memory, %.
bool is_tmpfs_size(std::string_view text, bool percent) {
  if (text.empty()) return false;
  const char unit = text.back();
  const bool has_unit = std::string_view("kKmMgG").find(unit) != std::string_view::npos;
  if (has_unit || (percent && unit == '%')) text.remove_suffix(1);
  const auto number = number_of<std::uint64_t>(text);
  return number && *number <= (unit == '%' ? 100 : std::uint64_t{1} << 32U << (has_unit ? 0 : 30));
}

std::string capability_name(std::string_view text) {
  std::string name;
  for (const char c : text) name += static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  if (name.starts_with("CAP_")) name.erase(0, 4);
  return name;
}

struct CapabilityList {
  bool all = false;
  std::uint64_t bits = 0;
};

Result<CapabilityList> parse_capabilities(std::string_view flag, const std::vector<std::string>& names) {
  CapabilityList list;
  for (const std::string& text : names) {
    const std::string name = capability_name(text);
    const auto* const found = std::ranges::find(kCapabilities, name);
    if (text == "ALL" || text == "all") {
      list.all = true;
    } else if (found != kCapabilities.end()) {
      list.bits |= std::uint64_t{1} << static_cast<unsigned>(found - kCapabilities.begin());
    } else {
      return bad(flag, text, "not a capability; use a name like NET_ADMIN, or ALL");
    }
  }
  return list;
}

Result<void> check_count(std::string_view flag, std::size_t count) {
  if (count <= kMaxEntries) return {};
  return fail(ErrorCode::kInvalidArgument, "{}: given {} times, and {} is the most", flag, count, kMaxEntries);
}

Result<void> check_tmpfs_path(std::string_view path) {
  if (!path.starts_with('/')) return bad("--tmpfs", path, "not an absolute path; begin it with /");
  std::string normal = std::filesystem::path(path).lexically_normal().string();
  if (normal.size() > 1 && normal.ends_with('/')) normal.pop_back();
  if (normal != path) return bad("--tmpfs", path, "write it without detours, as {}", normal);
  constexpr std::array<std::string_view, 3> kKernels = {"/", "/proc", "/sys"};
  const bool below = path.starts_with("/proc/") || path.starts_with("/sys/");
  if (below || std::ranges::find(kKernels, path) != kKernels.end()) {
    return bad("--tmpfs", path, "cannot be mounted over; choose a directory of the image");
  }
  return {};
}

Result<void> validate_names(const BoxOptions& options) {
  if (!options.hostname.empty() && !is_host_name(options.hostname, kMaxHostname)) {
    return bad("--hostname", options.hostname,
               "not a host name: letters, digits, \"-\", \".\" and \"_\", the first a letter or digit, at most {}", kMaxHostname);
  }
  for (const auto& [flag, list] : {std::pair("--add-host", &options.add_hosts),
                                   {"--dns", &options.dns},
                                   {"--dns-search", &options.dns_search},
                                   {"--dns-option", &options.dns_options}}) {
    TRY(check_count(flag, list->size()));
  }
  for (const std::string& host : options.add_hosts) TRY(hosts_line(host));
  for (const std::string& server : options.dns) {
    const auto address = net::IpAddress::parse(server);
    if (!address) return bad("--dns", server, "not an IP address");
    // One on the box's own loopback is the box's affair.
    const bool own = address->in(net::IpAddress::v4(127, 0, 0, 0), 8) || *address == net::IpAddress::v6({}).with_last_byte(1);
    if (!own && net::never_reachable(*address))
      return bad("--dns", server, "no box ever reaches it; without --dns this host's servers are asked");
  }
  for (const std::string& domain : options.dns_search) {
    if (domain != "." && !is_host_name(domain, kMaxDomain)) return bad("--dns-search", domain, "not a domain; use . for none");
  }
  for (const std::string& option : options.dns_options) {
    const auto fits = [](char c) { return is_digit(c) || is_letter(c) || c == '-' || c == ':' || c == '_'; };
    if (option.empty() || option.size() > kMaxDomain || !std::ranges::all_of(option, fits)) {
      return bad("--dns-option", option, "not an option of resolv.conf");
    }
  }
  return {};
}

Result<void> validate_labels(const BoxOptions& options) {
  std::size_t total = 0;
  for (const auto& [key, value] : options.labels) {
    if (key.empty()) return bad("--label", fmt::format("{}={}", key, value), "a label needs a name before \"=\"");
    if (key.find('\0') != std::string::npos || value.find('\0') != std::string::npos)
      return bad("--label", key, "a NUL byte cannot be in a label");
    total += key.size() + value.size();
  }
  if (total > kMaxLabelBytes)
    return fail(ErrorCode::kInvalidArgument, "--label: {} bytes of labels, and {} is the most", total, kMaxLabelBytes);
  return {};
}

Result<void> validate_network(const BoxOptions& options) {
  if (!options.network.empty() && options.network != "none") {
    return bad("--network", options.network,
               "use none or default; to reach this host's loopback there is --host-access, and to be reached -p");
  }
  TRY(asked_ports(options, {}));
  for (const std::string& host : options.add_hosts) {
    if (host.ends_with("host-gateway") && !options.host_access)
      return bad("--add-host", host, "the way to this host's loopback is closed without --host-access; give that too");
  }
  TRY(check_count("--allow-net", options.allow_net.size()));
  for (const std::string& rule : options.allow_net) {
    const auto parsed = net::parse_allow_rule(rule);
    if (!parsed) return std::unexpected(Error(parsed.error()).context("--allow-net"));
    const bool own = (parsed->network.in(net::kNetwork4, net::kPrefix4) && parsed->prefix >= net::kPrefix4) ||
                     (parsed->network.in(net::kNetwork6, net::kPrefix6) && parsed->prefix >= net::kPrefix6);
    if (own && !options.host_access)
      return bad("--allow-net", rule,
                 "the box's own network leads to this host's loopback alone, and that is closed without --host-access");
  }
  for (const auto& [flag, rate] : {std::pair("--net-tx-kbps", options.net_tx_kbps), {"--net-rx-kbps", options.net_rx_kbps}}) {
    if (rate > kMaxKbps) return bad(flag, std::to_string(rate), "more than {}; leave it out for no limit", kMaxKbps);
  }
  if (options.network != "none") return {};
  for (const auto& [flag, asked] : {std::pair("--publish", !options.publish.empty()),
                                    {"--publish-all", options.publish_all},
                                    {"--host-access", options.host_access},
                                    {"--allow-net", !options.allow_net.empty()},
                                    {"--net-tx-kbps", options.net_tx_kbps != 0},
                                    {"--net-rx-kbps", options.net_rx_kbps != 0}}) {
    if (asked) return bad("--network", "none", "a box without a network has no use for {}; leave one of them out", flag);
  }
  return {};
}

}  // namespace

Result<Ulimit> parse_ulimit(std::string_view text) {
  constexpr std::string_view kFlag = "--ulimit";
  const std::size_t equals = text.find('=');
  const auto* const found =
      std::ranges::find(kResources, text.substr(0, equals), &std::pair<std::string_view, std::uint32_t>::first);
  if (found == std::end(kResources)) return bad(kFlag, text, "not a limit; use name=soft:hard, like nofile=1024:4096");
  const std::string_view values = equals == std::string_view::npos ? std::string_view() : text.substr(equals + 1);
  const std::size_t colon = values.find(':');
  const auto soft = limit_of(values.substr(0, colon));
  const auto hard = colon == std::string_view::npos ? soft : limit_of(values.substr(colon + 1));
  if (!soft || !hard) return bad(kFlag, text, "not a number; use name=soft:hard, -1 for unlimited");
  if (*soft > *hard) return bad(kFlag, text, "the soft limit is above the hard limit");
  if (found->second == RLIMIT_NOFILE && *hard > kMaxOpenFiles) {
    return bad(kFlag, text, "the box's kernel allows at most {} open files", kMaxOpenFiles);
  }
  return Ulimit{found->second, *soft, *hard};
}

Result<TmpfsOptions> parse_tmpfs(std::string_view path, std::string_view options) {
  TRY(check_tmpfs_path(path));
  TmpfsOptions result;
  std::string mode = "1777";
  while (!options.empty()) {
    const std::string_view option = options.substr(0, options.find(','));
    options.remove_prefix(std::min(option.size() + 1, options.size()));
    const std::size_t equals = option.find('=');
    const std::string_view key = option.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? std::string_view() : option.substr(equals + 1);
    const auto wrong = [&](std::string_view why) {
      return bad("--tmpfs", path, "option {}: {}", option.empty() ? "\"\"" : option, why);
    };
    const auto flag = [&](std::string_view name, bool& target, bool on) {
      if (option == name) target = on;
      return option == name;
    };
    if (flag("ro", result.read_only, true) || flag("rw", result.read_only, false) || flag("exec", result.exec, true) ||
        flag("noexec", result.exec, false) || flag("suid", result.suid, true) || flag("nosuid", result.suid, false) ||
        flag("dev", result.dev, true) || flag("nodev", result.dev, false)) {
      continue;
    }
    if (key == "mode") {
      const auto number = number_of<unsigned>(value, 8);
      if (!number || *number > 07777) return wrong("not an octal mode");
      mode = value;
      continue;
    }
    if (key == "size" || key == "nr_blocks" || key == "nr_inodes") {
      if (!is_tmpfs_size(value, key == "size")) return wrong("not a size");
    } else if (key == "uid" || key == "gid") {
      const auto id = number_of<std::uint32_t>(value);
      if (!id || *id > 0x7fffffff) return wrong("not an id");
    } else {
      return wrong("not known; there are rw, ro, exec, suid, dev, size, mode, uid, gid, nr_inodes and nr_blocks");
    }
    result.settings.emplace_back(key, value);
  }
  result.settings.emplace_back("mode", mode);
  return result;
}

Result<CapabilityChange> capability_change(const std::vector<std::string>& add, const std::vector<std::string>& drop) {
  TRY_ASSIGN(const CapabilityList added, parse_capabilities("--cap-add", add));
  TRY_ASSIGN(const CapabilityList dropped, parse_capabilities("--cap-drop", drop));
  return CapabilityChange{.add = added.all ? kAllCapabilities & ~dropped.bits : added.bits,
                          .drop = dropped.all ? kAllCapabilities : dropped.bits};
}

Result<std::string> hosts_line(std::string_view text) {
  const std::size_t separator = text.find_first_of(":=");
  const std::string_view name = text.substr(0, separator);
  std::string address(separator == std::string_view::npos ? std::string_view() : text.substr(separator + 1));
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  if (address == "host-gateway") address = net::kHostAlias4.text();  // docker's word for it
  if (!is_host_name(name, kMaxDomain) || !net::IpAddress::parse(address))
    return bad("--add-host", text, "not a host and its address; use name:address, like db:10.0.0.7");
  return fmt::format("{}\t{}", address, name);
}

std::vector<std::string> resolv_conf_lines(const BoxOptions& options, const std::vector<std::string>& host_domains) {
  std::vector<std::string> lines;
  lines.reserve(options.dns.size() + 3);
  for (const std::string& server : options.dns) lines.push_back("nameserver " + server);
  const bool networked = options.network != "none";
  if (options.dns.empty() && networked) lines.push_back(fmt::format("nameserver {}", net::kGateway4.text()));
  std::vector<std::string> domains = options.dns_search.empty() && networked ? host_domains : options.dns_search;
  std::erase(domains, ".");
  if (!domains.empty()) lines.push_back(fmt::format("search {}", fmt::join(domains, " ")));
  if (!options.dns_options.empty()) lines.push_back(fmt::format("options {}", fmt::join(options.dns_options, " ")));
  return lines;
}

Result<void> validate_container_options(const BoxOptions& options) {
  TRY(validate_names(options));
  TRY(validate_labels(options));
  TRY(validate_network(options));
  for (const std::string& limit : options.ulimits) TRY(parse_ulimit(limit));
  TRY(check_count("--tmpfs", options.tmpfs.size()));
  for (const auto& [path, text] : options.tmpfs) TRY(parse_tmpfs(path, text));
  TRY(asked_mounts(options));
  TRY(capability_change(options.cap_add, options.cap_drop));
  if (options.shm_bytes == 0) return bad("--shm-size", "0", "must not be empty; leave the flag out for 64m");
  if (!options.stop_signal.empty() && !signal_number(options.stop_signal)) {
    return bad("--stop-signal", options.stop_signal, "not a signal; use a name like TERM or a number from 1 to 64");
  }
  return {};
}

}  // namespace boxlite

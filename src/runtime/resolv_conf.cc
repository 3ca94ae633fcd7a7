#include "runtime/resolv_conf.h"

#include <algorithm>
#include <sstream>

#include "base/file.h"
#include "net/ip_address.h"

namespace boxlite {
namespace {

constexpr std::size_t kMaxResolvConf = 64 * 1024;
constexpr std::size_t kMaxServers = 3;  // MAXNS of the C library
constexpr std::size_t kMaxDomains = 6;
constexpr std::size_t kMaxSearchDomain = 253;

bool is_domain(std::string_view text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  };
  return !text.empty() && text != "." && text.size() <= kMaxSearchDomain && std::ranges::all_of(text, fits);
}

}  // namespace

HostResolver parse_resolv_conf(std::string_view text) {
  HostResolver result;
  std::istringstream lines{std::string(text)};
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line.substr(0, line.find_first_of("#;")));
    std::string word;
    words >> word;
    if (word == "nameserver" && words >> word && net::IpAddress::parse(word) && result.servers.size() < kMaxServers) {
      result.servers.push_back(word);
    } else if (word == "search" || word == "domain") {
      result.domains.clear();  // the last such line counts
      while (words >> word && result.domains.size() < kMaxDomains) {
        if (is_domain(word)) result.domains.push_back(word);
      }
    }
  }
  if (result.servers.empty()) result.servers.emplace_back("127.0.0.1");
  return result;
}

Result<HostResolver> read_host_resolver() {
  TRY_ASSIGN(const std::string text, read_file("/etc/resolv.conf", kMaxResolvConf));
  return parse_resolv_conf(text);
}

HostResolver host_resolver() { return read_host_resolver().value_or(parse_resolv_conf("")); }

}  // namespace boxlite

#include "runtime/port_holder.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <memory>
#include <sstream>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "runtime/printable.h"

namespace boxlite {
namespace {

constexpr std::size_t kMaxTable = std::size_t{16} << 20U;
constexpr std::size_t kMaxCommFile = 4096;
constexpr unsigned kListening = 0x0A;

using Address = std::array<std::uint8_t, 16>;  // IPv4 as IPv4-mapped

struct Wanted {
  Address address = {};
  std::uint16_t port = 0;
};

bool is_any(const Address& address) {
  constexpr Address kAny6 = {};
  constexpr Address kAny4 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return address == kAny6 || address == kAny4;
}

Address mapped(const in_addr& address) {
  Address result = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::memcpy(&result[12], &address, sizeof address);
  return result;
}

Wanted wanted(const sockaddr_storage& address) {
  Wanted result;
  if (address.ss_family == AF_INET) {
    sockaddr_in in = {};
    std::memcpy(&in, &address, sizeof in);
    result.address = mapped(in.sin_addr);
    result.port = ntohs(in.sin_port);
  } else {
    sockaddr_in6 in = {};
    std::memcpy(&in, &address, sizeof in);
    std::memcpy(result.address.data(), &in.sin6_addr, sizeof in.sin6_addr);
    result.port = ntohs(in.sin6_port);
  }
  return result;
}

// proc(5): the address as 32-bit words in the host's byte order, a colon, the port; all hexadecimal.
bool parse_local(std::string_view text, Address& address, unsigned& port) {
  const std::size_t colon = text.find(':');
  if (colon != 8 && colon != 32) return false;
  std::array<std::uint32_t, 4> words = {};
  for (std::size_t i = 0; i * 8 < colon; ++i) {
    const auto parsed = std::from_chars(text.data() + i * 8, text.data() + i * 8 + 8, words[i], 16);
    if (parsed.ec != std::errc()) return false;
  }
  if (colon == 8) {
    in_addr in = {};
    in.s_addr = words[0];
    address = mapped(in);
  } else {
    std::memcpy(address.data(), words.data(), address.size());
  }
  return std::from_chars(text.data() + colon + 1, text.data() + text.size(), port, 16).ec == std::errc();
}

// Inodes of the sockets that are in the way.
std::vector<std::string> inodes(const std::string& table, const Wanted& wanted, bool tcp) {
  std::vector<std::string> result;
  const auto text = read_file(table, kMaxTable);
  if (!text) return result;
  std::istringstream lines(*text);
  std::string line;
  std::getline(lines, line);  // the heading
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string slot, local, remote, state, queues, timer, retransmits, user, timeout, inode;
    fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> user >> timeout >> inode;
    Address address = {};
    unsigned port = 0;
    if (!parse_local(local, address, port) || port != wanted.port) continue;
    if (tcp && std::strtoul(state.c_str(), nullptr, 16) != kListening) continue;
    if (address == wanted.address || is_any(address) || is_any(wanted.address)) result.push_back("socket:[" + inode + "]");
  }
  return result;
}

bool has_socket(const std::string& process, const std::vector<std::string>& sockets) {
  const std::string directory = process + "/fd";
  const std::unique_ptr<DIR, int (*)(DIR*)> descriptors(::opendir(directory.c_str()), ::closedir);
  if (!descriptors) return false;
  while (const dirent* entry = ::readdir(descriptors.get())) {
    std::array<char, 64> target;
    const ssize_t length = ::readlinkat(::dirfd(descriptors.get()), entry->d_name, target.data(), target.size());
    if (length > 0 &&
        std::ranges::find(sockets, std::string_view(target.data(), static_cast<std::size_t>(length))) != sockets.end())
      return true;
  }
  return false;
}

std::string describe(const std::string& pid) {
  const std::string process = "/proc/" + pid;
  const std::string arguments = read_file(process + "/cmdline", kMaxCommFile).value_or("");
  const std::string program = arguments.substr(0, arguments.find('\0'));
  // Its first argument is the box's id; before that it is handed the port by the box's shim, and by who starts it.
  for (const char* own : {"boxlite-net", "boxlite-shim"}) {
    if (program == own && arguments.size() > program.size() + 1)
      return "box " + printable(arguments.c_str() + program.size() + 1, 64);
  }
  std::string name = read_file(process + "/comm", kMaxCommFile).value_or("");
  if (name.ends_with('\n')) name.pop_back();
  return "pid " + pid + " (" + printable(name, 64) + ")";
}

}  // namespace

std::string port_holder(const sockaddr_storage& address, bool tcp) {
  const Wanted search = wanted(address);
  std::vector<std::string> sockets;
  for (const char* table : tcp ? std::array{"/proc/net/tcp", "/proc/net/tcp6"} : std::array{"/proc/net/udp", "/proc/net/udp6"}) {
    for (std::string& inode : inodes(table, search, tcp)) sockets.push_back(std::move(inode));
  }
  if (sockets.empty()) return "";
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
  if (!processes) return "";
  while (const dirent* entry = ::readdir(processes.get())) {
    const std::string_view name = entry->d_name;
    if (!std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; })) continue;
    if (has_socket("/proc/" + std::string(name), sockets)) return describe(std::string(name));
  }
  return "";
}

bool is_served(pid_t pid, const std::string& ip, std::uint16_t port, bool tcp) {
  Wanted search = {.address = {}, .port = port};
  in_addr v4 = {};
  if (::inet_pton(AF_INET, ip.c_str(), &v4) == 1) {
    search.address = mapped(v4);
  } else if (::inet_pton(AF_INET6, ip.c_str(), search.address.data()) != 1) {
    return false;
  }
  const std::string table = fmt::format("/proc/{}/net/{}", pid, tcp ? "tcp" : "udp");
  return !inodes(table, search, tcp).empty() || !inodes(table + "6", search, tcp).empty();
}

}  // namespace boxlite

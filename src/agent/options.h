// What the host asks for, checked: nothing of a Call is used before it went through here.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent.pb.h"
#include "base/result.h"

namespace boxlite::agent {

/// How to run one command.
struct Command {
  std::vector<std::string> args = {};
  std::vector<std::string> env = {};
  std::string working_dir = "/";
  std::string user = {};
  bool tty = false;
  bool open_stdin = false;
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;
  std::chrono::milliseconds timeout = {};  // 0: none
};
Result<Command> parse_command(const proto::Process& process);

struct Tmpfs {
  std::string path;
  unsigned attributes = 0;  // MOUNT_ATTR_*
  std::map<std::string, std::string> settings;
};

struct VolumeMount {
  std::uint32_t index = 0;
  std::string path = {};
  bool read_only = false;
  bool file = false;
  bool populate = false;
  int connection = -1;  // of the 9P client; the agent fills it in
};

struct Ulimit {
  unsigned resource = 0;  // RLIMIT_*
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
};

/// The network device's addresses, as text. IPv4 is always there, IPv6 may be missing ("").
struct NetworkOptions {
  std::string address4;
  unsigned prefix4 = 0;
  std::string gateway4;
  std::string address6;
  unsigned prefix6 = 0;
  std::string gateway6;
  unsigned mtu = 0;
};

/// What the container is.
struct ContainerOptions {
  std::string hostname = {};
  bool privileged = false;
  bool init = false;
  bool read_only = false;
  std::uint64_t shm_bytes = 0;
  std::vector<Tmpfs> tmpfs = {};
  std::vector<VolumeMount> volumes = {};
  std::vector<std::string> directories = {};  // made where they are missing
  std::vector<Ulimit> ulimits = {};
  std::uint64_t capabilities = 0;  // of every command
  std::uint64_t disk_bytes = 0;
  std::optional<NetworkOptions> network = {};  // none: loopback only
  std::string hosts = {};                      // contents of /etc/hosts
  std::string resolv_conf = {};                // contents of /etc/resolv.conf
};
Result<ContainerOptions> parse_container(const proto::Configure& configure);

Result<std::uint16_t> parse_port(std::uint32_t port);

struct WindowSize {
  std::uint16_t rows;
  std::uint16_t columns;
};
Result<WindowSize> parse_window(std::uint32_t rows, std::uint32_t columns);

/// The command's environment with docker's defaults for what it does not say: PATH, HOSTNAME, HOME, and TERM with a terminal.
/// Of two entries with one name the last counts (getenv would take the first).
std::vector<std::string> complete_environment(const Command& command, const std::string& hostname, const std::string& home);

}  // namespace boxlite::agent

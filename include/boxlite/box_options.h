// How a box is made. Values only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "boxlite/error.h"

namespace boxlite {

inline constexpr std::uint64_t kMiB = 1024 * 1024;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

inline constexpr unsigned kDefaultCpus = 1;
inline constexpr std::uint64_t kDefaultMemoryMib = 512;
inline constexpr std::uint64_t kMinMemoryMib = 128;
inline constexpr std::uint64_t kDefaultDiskBytes = 10 * kGiB;
inline constexpr std::uint64_t kDefaultShmBytes = 64 * kMiB;
inline constexpr unsigned kDefaultStopSeconds = 10;

struct BoxOptions {
  std::string image;  // a reference, an id, "oci:DIR", or "rootfs:DIR" (a directory, copied); pulled when it is not here
  std::string name;   // "": one is made up. [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most 63 characters, unique in the home
  std::vector<std::string> command;                    // replaces the image's CMD when not empty
  std::optional<std::vector<std::string>> entrypoint;  // replaces ENTRYPOINT (and drops CMD, as docker does)
  std::vector<std::string> env;  // "NAME=value", added to the image's; kept out of database, argv, environments and logs
  std::string working_dir;       // "": the image's
  std::string user;              // "": the image's
  unsigned cpus = kDefaultCpus;
  std::uint64_t memory_mib = kDefaultMemoryMib;
  std::uint64_t disk_bytes = kDefaultDiskBytes;
  bool tty = false;
  bool open_stdin = false;
  bool privileged = false;
  bool auto_remove = false;  // the box removes itself when its main command has ended
  bool init = false;         // PID 1 is a small init that passes signals on to the command and reaps what it leaves behind

  std::string hostname;                       // "": the box's id
  std::vector<std::string> add_hosts;         // "name:address", for /etc/hosts
  std::vector<std::string> dns;               // addresses of name servers, for /etc/resolv.conf
  std::vector<std::string> dns_search;        // domains; "." for none
  std::vector<std::string> dns_options;       // as resolv.conf(5) has them
  std::map<std::string, std::string> labels;  // added to the image's

  /// "strict": a start fails, and names it, where this host does not offer one of the layers of isolation (HostInfo); "": the box
  /// runs with those that there are.
  std::string security;

  std::string network;  // "": the host's network behind its own address translation; "none": no network device
  // docker's --publish: "8080:80", "0.0.0.0:8080:80/udp", "8000-8010:8000-8010", "80". Without an address: 127.0.0.1.
  std::vector<std::string> publish;
  bool publish_all = false;            // what the image exposes, on free ports of the host
  bool host_access = false;            // host.boxlite.internal leads to the host's loopback
  std::vector<std::string> allow_net;  // not empty: only there. "10.0.0.0/8", "1.2.3.4:443", "[fd00::/8]:53"
  std::uint64_t net_tx_kbps = 0;       // what the box sends, in kbit/s; 0: no limit
  std::uint64_t net_rx_kbps = 0;       // what it receives

  std::vector<std::string> ulimits;          // "name=soft[:hard]", docker's names; -1 is unlimited
  std::vector<std::string> cap_add;          // capability names with or without CAP_, or ALL
  std::vector<std::string> cap_drop;         // the same
  bool read_only = false;                    // the root; what is mounted on it is as it was
  std::map<std::string, std::string> tmpfs;  // by path: docker's options, "size=64m,mode=1777,exec"; "" for the defaults
  std::uint64_t shm_bytes = kDefaultShmBytes;
  std::vector<std::string> volumes;  // docker's --volume: "/host/dir:/dir:ro", "name:/dir", "/dir"
  std::vector<std::string> mounts;   // docker's --mount: "type=bind,source=/host/dir,target=/dir,readonly"

  std::string stop_signal;               // a name or a number; "": the image's, else TERM
  std::optional<unsigned> stop_seconds;  // between the stop signal and SIGKILL; kDefaultStopSeconds
  unsigned timeout_seconds = 0;          // the main command may run so long, as ExecOptions::timeout; 0: no limit
};

/// Refuses what cannot be right, before anything is looked up or made; Runtime::create() does the same. The message names an
/// option by its flag of the command line.
Result<void> validate_options(const BoxOptions& options);

/// Who a running box belongs to.
enum class Ownership {
  kDetached,    // lives until it ends or is stopped
  kOwnerBound,  // is stopped when the process that started it ends, however that ends
};

}  // namespace boxlite

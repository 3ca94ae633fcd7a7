// What is known about a box at one moment. Values only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "boxlite/box_options.h"

namespace boxlite {

/// Derived from the lease and the records at the moment of asking, never stored (docs/architecture.md, "Liveness").
enum class BoxStatus {
  kCreated,  // never started
  kStarting,
  kRunning,
  kPaused,  // by Box::pause(): it stands still
  kStopping,
  kStopped,       // its main command ended, or it was stopped; or the host rebooted
  kSuspended,     // paused to disk, or forked and not started: its memory is kept, and the next start goes on from it
  kFailed,        // the VM or its shim ended without an exit of the main command, or the start failed
  kUnresponsive,  // its shim is alive and does not answer
};

/// "created", "starting", …
std::string_view name(BoxStatus status);

/// What a box sees of the host's files.
struct MountInfo {
  std::string type;         // "bind", "volume"
  std::string name;         // of the volume
  std::string source;       // on the host
  std::string destination;  // in the box
  bool read_only = false;
};

/// A port of the host that leads into a box.
struct PublishedPort {
  std::string host_ip;
  std::uint16_t host_port = 0;
  std::uint16_t box_port = 0;
  std::string protocol;  // "tcp", "udp"
};

/// What has passed a box's network since it was started. Sent and received are the box's view; bytes are of Ethernet frames.
struct NetworkUsage {
  std::uint64_t tx_bytes = 0;
  std::uint64_t tx_packets = 0;
  std::uint64_t rx_bytes = 0;
  std::uint64_t rx_packets = 0;
  std::uint64_t connections = 0;  // TCP both ways, and UDP flows
  std::uint64_t denials = 0;      // what the box may not reach
  std::uint64_t dropped = 0;      // frames that were malformed, or from an address that is not the box's
};

/// One of the things that stand between a box and its host.
struct IsolationLayer {
  std::string process;  // which of the box's processes it is around: "vm", "shim", "network", "volumes"
  std::string name;     // "kvm", "namespaces", "unprivileged user", "landlock", "seccomp", "limits", "cgroup"
  bool on = false;
  std::string reason;  // why not; one line
};

struct BoxInfo {
  std::string id;  // 12 hex digits
  std::string name;
  BoxStatus status = BoxStatus::kCreated;
  std::string reason;             // why it failed or stopped; may be empty. One line
  std::optional<int> exit_code;   // of the main command, once ended; 128 + signal when a signal ended it
  bool oom_killed = false;        // the guest's kernel ended the main command for lack of memory
  std::uint64_t generation = 0;   // number of starts
  std::optional<pid_t> shim_pid;  // while the lease is held
  std::string image;              // reference it was made from
  std::string image_id;
  std::vector<std::string> args;              // the main command: ENTRYPOINT and CMD, with what replaces them
  std::map<std::string, std::string> labels;  // the image's, with the options' over them
  std::string created_at;                     // RFC 3339, UTC
  std::string started_at;                     // of the last start; may be empty
  std::string finished_at;                    // may be empty
  std::string accelerator;                    // "tcg", "kvm" of the last start; may be empty
  std::vector<IsolationLayer> isolation;      // while it runs
  std::vector<MountInfo> mounts;
  std::vector<PublishedPort> ports;           // bound now, by box port
  std::optional<NetworkUsage> network_usage;  // while it runs and has a network
  BoxOptions options;                         // env included: only what the owner may see anyway
};

}  // namespace boxlite

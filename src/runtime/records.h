// The small files through which a shim tells other processes about its box, and the configuration it is given. Formats:
// docs/formats/box-directory.md. Each carries a version, since a newer command line must manage older running boxes.
//
//   locks/<id>.lease        written by the shim under the lease: LeaseRecord
//   locks/<id>.op           operation lock: state changes
//   locks/<id>.vm           held while a process of the VM is alive
//   boxes/<id>/state.json   StateRecord, replaced by rename while the lease is held
//   boxes/<id>/exit.json    ExitRecord, written (rename, fsync) before the lease is released
//   boxes/<id>/secrets      the box's environment, 0600: never in the database
//   boxes/<id>/checkpoint.json, memory, device-state   what the next start goes on from (checkpoint.h)
//   boxes/<id>/layer-<n>.qcow2   disks below disk.qcow2 that are written no more
//   boxes/<id>/snapshots/<name>/
//   boxes/<id>/disk.qcow2, portal.sock, console.log, output.log, shim.log
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "runtime/box_config.h"
#include "vmm/vm.h"
#include "vmm/vm_config.h"

namespace boxlite {

inline constexpr int kRecordVersion = 1;

struct LeaseRecord {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  // field 22 of /proc/<pid>/stat
  std::string boot_id;
  std::uint64_t pid_namespace = 0;
  std::uint64_t generation = 0;
};

enum class Phase { kStarting, kRunning, kStopping };

struct StateRecord {
  std::uint64_t generation = 0;
  Phase phase = Phase::kStarting;
  std::string started_at;  // when the main command started; "" before
  std::string accelerator;
  std::vector<PublishedPort> ports;  // bound
  std::vector<IsolationLayer> isolation = {};
  std::string cgroup_place = {};  // where the box has a cgroup (box_cgroup.h); "": nowhere
};

struct ExitRecord {
  std::uint64_t generation = 0;
  bool failed = false;  // true: failed (reason), false: stopped (code)
  int code = 0;         // of the main command; 0 when failed
  int signal = 0;
  bool oom_killed = false;
  std::string reason;  // one line
  std::string finished_at;
  bool suspended = false;  // paused to disk: its command has not ended
};

struct ListenerRecord {
  int fd = -1;
  PublishedPort port;
};

/// Of a box that goes on from a checkpoint of a running machine.
struct ResumeRecord {
  std::uint64_t stdout_offset = 0;  // of the main command's output, from here on it has not been read
  std::uint64_t stderr_offset = 0;
  bool another_box = false;  // than the one that the checkpoint is of
};

/// Everything a shim needs, sent to it over its stdin socket as one JSON object and never written anywhere.
struct ShimConfig {
  std::string home;
  std::string box_id;
  std::uint64_t generation = 0;
  bool owner_bound = false;
  bool attach = false;  // hold the main command until the starter says "go" or is gone
  BoxConfig box;
  std::vector<std::string> env;  // complete: the image's and the box's
  unsigned rows = 0;
  unsigned columns = 0;
  vmm::VmConfig vm;  // accelerator already chosen
  std::vector<IsolationLayer> isolation = {};
  std::string cgroup_place = {};  // "": the box gets none
  vmm::VmPrograms programs;
  std::string net_program;                  // boxlite-net
  std::vector<ListenerRecord> listeners;    // descriptors that the shim inherits
  std::optional<ResumeRecord> resume = {};  // then vm.device_state is the box's own checkpoint's
};

/// Everything boxlite-template needs, sent to it over its stdin as one JSON object.
struct TemplateJob {
  vmm::VmConfig vm;  // boots; its memory_file is shared
  vmm::VmPrograms programs;
  bool nic = false;
  std::string device_state;                // a path, where the state of the devices is to be written
  std::string process_image = {};          // a path, where QEMU's image is to be written (vmm/process_image.h); "": none is
  std::string console_log;                 // a path
  bool prepared = false;                   // the root disk is mounted and the container built, as far as it is every box's
  bool privileged = false;                 // such a container
  std::vector<std::string> commands = {};  // programs that boxes are likely to run: they are in the memory of the template
  std::uint64_t disk_bytes = 0;
};

/// What the shim tells its starter on the same socket, one JSON object a line. The last one is `running` or `failed`;
/// end-of-file without either means the shim died.
enum class ShimReport { kLease, kPrepared, kRunning, kFailed };
//   {"report":"lease"}                           the lease is held: the starter may drop the operation lock
//   {"report":"prepared"}                        with `attach`: portal.sock answers, the main command waits for "go\n"
//   {"report":"running"}                         the main command runs
//   {"report":"failed","code":…,"message":…}     and the exit record is written; with "template":true what it was to be restored
//                                                from may be the reason, and a --rm box has not removed itself
// The first three may have "steps", what the start has come to until then: [[text, nanoseconds of CLOCK_MONOTONIC], …].
// The starter's only message after the configuration is "go\n".

Json to_json(const LeaseRecord& record);
Json to_json(const StateRecord& record);
Json to_json(const ExitRecord& record);
Json to_json(const ShimConfig& config);
Result<LeaseRecord> lease_record_from_json(const Json& json);
Result<StateRecord> state_record_from_json(const Json& json);
Result<ExitRecord> exit_record_from_json(const Json& json);
Result<ShimConfig> shim_config_from_json(const Json& json);
Json to_json(const TemplateJob& job);
Result<TemplateJob> template_job_from_json(const Json& json);

}  // namespace boxlite

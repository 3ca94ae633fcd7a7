// What a checkpoint consists of on the disk, and whether this host can go on from one. Format: docs/formats/checkpoint.md.
//
//   checkpoint.json   CheckpointRecord; written last: without it there is no checkpoint
//   memory            the guest's memory, as sparse as it is; none of a checkpoint of the disk alone
//   device-state      the state of the VM's devices; the same
//   layer-<n>.qcow2   the frozen disks, each on top of the one before and the first on the image's base
//
// In a box's own directory the first three are what its next start goes on from, and the layers lie below its disk.qcow2. Frozen
// files are never written again, so that any number of directories share them as hard links: with the last link a file goes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace boxlite {

struct CheckpointRecord {
  Json machine;                    // what must be equal; of the disk alone: null
  std::uint64_t memory_bytes = 0;  // 0: of the disk alone
  std::uint32_t device_state_crc32 = 0;
  std::optional<std::uint32_t> memory_crc32;  // of one that stays; without: a fork's, a template's, or one of the disk alone
  std::uint64_t stdout_offset = 0;            // to where the main command's output had been read
  std::uint64_t stderr_offset = 0;
  std::size_t layers = 0;  // disks of a snapshot, one on the other; 0: not told
  std::string boot_id;     // the memory is not on the disk yet, and gone with this boot of the host; "": it is
  std::string box_id;      // that it is of; "": a template
  std::string created_at;
};

Json to_json(const CheckpointRecord& record);
/// Of a directory; nullopt: there is no checkpoint in it. kUnsupported: of a newer boxlite.
Result<std::optional<CheckpointRecord>> read_checkpoint(const std::string& directory);

bool has_checkpoint(const std::string& directory);

/// The files belong to the record, as far as can be told quickly: sizes, and the checksum of the device state.
Result<void> check_files(const std::string& directory, const CheckpointRecord& record);

/// CRC-32 of the pages of 4096 bytes of a memory that are not all zeros, each behind its offset (8 bytes, little-endian): however
/// sparse the file is. Reads all that is in it: only where somebody asks whether it is whole.
Result<std::uint32_t> memory_checksum(const std::string& path);

/// CRC-32 of the device state.
Result<std::uint32_t> device_state_checksum(const std::string& path);

/// Everything that must be equal where the memory of a running machine is to go on. Its kernel and agent are in that memory.
struct MachineFacts {
  std::string qemu;  // a path of the program, or of the running process's (/proc/PID/exe)
  std::string accelerator;
  unsigned cpus = 0;
  std::uint64_t memory_mib = 0;
  bool nic = false;
  std::uint64_t tsc_khz = 0;
};
Result<Json> describe_machine(const MachineFacts& facts);
/// kUnsupported, with what differs.
Result<void> check_machine(const Json& then, const Json& now);

/// One more name for a frozen file.
Result<void> link_frozen(const std::string& from, const std::string& to);

/// The frozen disks in a directory, the lowest first.
std::vector<std::string> layers_in(const std::string& directory);
std::string layer_name(std::size_t index);

}  // namespace boxlite

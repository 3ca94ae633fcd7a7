// How a box is made. Values only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace boxlite {

inline constexpr std::uint64_t kMiB = 1024 * 1024;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

inline constexpr unsigned kDefaultCpus = 1;
inline constexpr std::uint64_t kDefaultMemoryMib = 512;
inline constexpr std::uint64_t kMinMemoryMib = 128;
inline constexpr std::uint64_t kDefaultDiskBytes = 10 * kGiB;

struct BoxOptions {
  std::string image;                 // a reference, or "oci:DIR"; pulled when it is not here
  std::string name;                  // "": one is made up. [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most 63 characters, unique in the home
  std::vector<std::string> command;  // replaces the image's CMD when not empty
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
};

/// Who a running box belongs to.
enum class Ownership {
  kDetached,    // lives until it ends or is stopped
  kOwnerBound,  // is stopped when the process that started it ends, however that ends
};

}  // namespace boxlite

// Volumes: directories that the runtime keeps, and that outlive boxes. Values only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace boxlite {

struct VolumeInfo {
  std::string name;        // [a-zA-Z0-9][a-zA-Z0-9_.-]*; of an anonymous one 64 hex digits
  std::string path;        // on the host
  std::string created_at;  // RFC 3339, UTC
  std::map<std::string, std::string> labels;
  bool anonymous = false;
  std::vector<std::string> boxes;  // names of those that have it
};

struct VolumeRemoval {
  std::vector<std::string> names;
  std::uint64_t reclaimed_bytes = 0;
};

}  // namespace boxlite

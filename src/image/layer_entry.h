// One entry of a layer's tar stream, as the tree takes it: names and numbers checked for their range, nothing resolved yet.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace boxlite::image {

enum class FileType { kRegular, kDirectory, kSymlink, kHardLink, kCharDevice, kBlockDevice, kFifo };

struct LayerEntry {
  std::string path;  // as in the archive: may be absolute, may hold ".."
  FileType type = FileType::kRegular;
  std::string link;        // target of a symbolic or hard link
  std::uint32_t mode = 0;  // permission bits, setuid, setgid, sticky
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int64_t mtime_seconds = 0;
  std::uint32_t mtime_nanoseconds = 0;
  std::uint64_t size = 0;  // of a regular file
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::vector<std::pair<std::string, std::string>> xattrs;
};

}  // namespace boxlite::image

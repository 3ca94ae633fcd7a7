// One entry of a layer's tar stream, as the tree takes it: names and numbers checked for their range, nothing resolved yet.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace boxlite::image {

enum class FileType : std::uint8_t { kRegular, kDirectory, kSymlink, kHardLink, kCharDevice, kBlockDevice, kFifo };

struct FileAttributes {
  FileType type = FileType::kRegular;
  std::uint32_t mode = 0;  // permission bits, setuid, setgid, sticky
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int64_t mtime_seconds = 0;
  std::uint32_t mtime_nanoseconds = 0;
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::uint64_t size = 0;  // of a regular file
};

struct LayerEntry : FileAttributes {
  std::string path;  // as in the archive: may be absolute, may hold ".."
  std::string link;  // target of a symbolic or hard link
  std::vector<std::pair<std::string, std::string>> xattrs;
};

/// The same without a path, its texts kept elsewhere.
struct FileFacts : FileAttributes {
  using Xattr = std::pair<std::string_view, std::string_view>;
  std::string_view link;  // target of a symbolic link
  std::span<const Xattr> xattrs;
};

}  // namespace boxlite::image

// One entry of a tar stream, and its encoding: POSIX ustar headers, preceded by a pax extended header ("x") where ustar has no
// room (IEEE Std 1003.1-2001, pax). Times are whole seconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace boxlite::files {

inline constexpr std::size_t kTarBlock = 512;

enum class EntryType { kFile, kHardLink, kSymlink, kCharDevice, kBlockDevice, kDirectory, kFifo };

struct TarEntry {
  std::string path = {};  // any bytes but NUL; a directory's without the "/" at its end
  EntryType type = EntryType::kFile;
  std::string link = {};   // target of a symbolic link; path of the earlier entry that a hard link is of
  std::uint32_t mode = 0;  // 07777
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t size = 0;  // of a file's content in bytes, else 0
  std::int64_t mtime = 0;  // seconds since 1970
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::vector<std::pair<std::string, std::string>> xattrs = {};
};

/// The header block, and before it what does not fit into it. The content and zeros up to the next block follow.
std::string encode_tar_header(const TarEntry& entry);

/// Zeros that fill the last block of a content.
constexpr std::size_t tar_padding(std::uint64_t size) {
  return static_cast<std::size_t>((kTarBlock - size % kTarBlock) % kTarBlock);
}

/// Ends a stream.
inline constexpr std::size_t kTarEnd = 2 * kTarBlock;

namespace ustar {

// Offsets and lengths of the header's fields.
struct Field {
  std::size_t offset;
  std::size_t length;
};
inline constexpr Field kName = {0, 100};
inline constexpr Field kMode = {100, 8};
inline constexpr Field kUid = {108, 8};
inline constexpr Field kGid = {116, 8};
inline constexpr Field kSize = {124, 12};
inline constexpr Field kMtime = {136, 12};
inline constexpr Field kChecksum = {148, 8};
inline constexpr Field kType = {156, 1};
inline constexpr Field kLink = {157, 100};
inline constexpr Field kMagic = {257, 8};  // with the version
inline constexpr Field kMajor = {329, 8};
inline constexpr Field kMinor = {337, 8};
inline constexpr Field kPrefix = {345, 155};

}  // namespace ustar

}  // namespace boxlite::files

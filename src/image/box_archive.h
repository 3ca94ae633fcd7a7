// The archive of a box (.boxlite), docs/formats/box-archive.md: what `export` writes and `import` reads.
//
// A zstd skippable frame that says what the file is, then a zstd frame with its checksum, which holds a tar (pax, sparse files
// as GNU tar's 1.0 has them) whose members come in a fixed order:
//
//   boxlite.json      the box (runtime/box_archive.h)
//   checkpoint.json   the record of the checkpoint (runtime/checkpoint.h)
//   base.ext4         the read-only disk that the layers lie on
//   layer-<n>.qcow2   at least one
//   memory, device-state   with memory: both
#pragma once

#include <cstddef>
#include <string_view>

namespace boxlite::image {

inline constexpr std::string_view kBoxMember = "boxlite.json";
inline constexpr std::string_view kCheckpointMember = "checkpoint.json";
inline constexpr std::string_view kBaseMember = "base.ext4";
inline constexpr std::string_view kMemoryMember = "memory";
inline constexpr std::string_view kDeviceStateMember = "device-state";

inline constexpr std::size_t kMaxBoxRecord = std::size_t{4} << 20U;
inline constexpr std::size_t kMaxBoxLayers = 64;

/// zstd's magic number of a skippable frame, and the length of the text behind it; then the text up to its version.
inline constexpr std::string_view kBoxArchiveFrame{"\x50\x2a\x4d\x18\x16\0\0\0", 8};
inline constexpr std::string_view kBoxArchiveText = "boxlite box archive ";
inline constexpr std::string_view kBoxArchiveVersion = "1\n";
static_assert(kBoxArchiveText.size() + kBoxArchiveVersion.size() == 0x16);

/// The name of the base disk below <home>/bases is this and a random number, in place of an image's id: nothing that comes from
/// an archive can be taken for an image's disk, and nothing on the host reads its file system.
inline constexpr std::string_view kImportedBase = "import-";

}  // namespace boxlite::image

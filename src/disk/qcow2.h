// A box's root disk: a qcow2 overlay on a read-only base image.
//
// The header is written here, not by qemu-img: it takes microseconds instead of a process, and what it says is exactly this and
// nothing else. It names its backing file relative to itself (homes move) and states the backing format (what a guest can
// write is never probed). Layout: qemu's docs/interop/qcow2.txt, version 3.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace boxlite::disk {

inline constexpr std::uint64_t kMaxVirtualSize = std::uint64_t{16} << 40;  // ext4 with 4 KiB blocks ends there

/// Creates `path` (0600), which must not exist, as an empty overlay of `virtual_size` bytes, a multiple of 512 and not smaller
/// than the base. `base_path_relative` is seen from the directory of `path`: "../../bases/x.ext4". Durable when it returns;
/// nothing is left behind when it fails.
Result<void> create_overlay(const std::string& path, std::uint64_t virtual_size, std::string_view base_path_relative,
                            std::string_view base_format);

/// Of a frozen disk that somebody sent: kCorrupt unless its header is one of a plain qcow2 of version 3. Encryption, a file for
/// its data, internal snapshots, unknown features, or a backing file that create_overlay() would not name: no. What is behind
/// the header is for QEMU alone, in its jail.
Result<void> check_layer(const std::string& path);

/// What a disk lies on, as its header says it. kCorrupt: it says nothing, or is no qcow2 file.
Result<std::string> backing_file(const std::string& path);

}  // namespace boxlite::disk

// A new ext4 file system in a sparse file, written front to back with libext2fs.
//
// What it makes is what mkfs.ext4 makes by default on kernel 6.1 (extents, 64bit, metadata_csum, flex_bg, resize_inode, a
// journal): the guest mounts it read-write through an overlay and grows it online. Every byte that need not be written stays a
// hole: the file is new, so inode tables and journal are zero already and are marked so. It is deterministic: identifiers come
// from the image, times from its entries.
//
// Order of use: create, then for each inode allocate, content, write; finish. Inode numbers are the caller's: counting up
// makes their table blocks be written in order, once.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/layer_entry.h"

namespace boxlite::image {

inline constexpr std::uint32_t kBlockSize = 4096;
inline constexpr std::uint32_t kRootInode = 2;
inline constexpr std::uint32_t kFirstInode = 11;  // below are the file system's own
inline constexpr std::uint64_t kMinDiskBytes = 64 * 1024 * 1024;

/// Blocks of a file: `count` of them from `logical` on, at `physical` on the disk.
struct Extent {
  std::uint64_t logical = 0;
  std::uint64_t physical = 0;
  std::uint32_t count = 0;
};

struct DirectoryEntry {
  std::string_view name;
  std::uint32_t inode = 0;
  FileType type = FileType::kRegular;
};

class Ext4Image {
 public:
  struct Options {
    std::uint64_t disk_bytes = 0;            // rounded down to whole blocks
    std::uint32_t inodes_wanted = 0;         // at least; more are there as mkfs would
    std::array<std::uint8_t, 32> seed = {};  // identifiers are made of it
  };
  /// `path` must not exist. `what` names the image in errors.
  static Result<Ext4Image> create(const std::string& path, const std::string& what, const Options& options);
  Ext4Image(Ext4Image&&) noexcept;
  ~Ext4Image();

  /// Marks an inode number as used. Each once, before it is written.
  void use_inode(std::uint32_t number, bool directory);

  /// Writes whole blocks at `logical` of a file, wherever there is room, and adds to its extents.
  Result<void> write_blocks(std::uint64_t logical, std::span<const std::byte> blocks, std::vector<Extent>& extents);

  /// Writes the inode of a file (content by `extents`), symbolic link, device or fifo, with its extended attributes.
  Result<void> write_inode(std::uint32_t number, const FileFacts& entry, std::uint32_t links, std::span<const Extent> extents);

  /// Writes a directory's blocks and its inode; `next` gives its entries without "." and "..", each valid until the next call.
  /// `links` as ext4 counts them: 2 + subdirectories.
  Result<void> write_directory(std::uint32_t number, std::uint32_t parent, const FileFacts& entry, std::uint32_t links,
                               const std::function<std::optional<DirectoryEntry>()>& next);

  /// Writes what is left and syncs the file.
  Result<void> finish();

 private:
  struct Impl;
  explicit Ext4Image(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Sum of the sizes of all regular files in an image made by Ext4Image.
Result<std::uint64_t> ext4_content_bytes(const std::string& path);

}  // namespace boxlite::image

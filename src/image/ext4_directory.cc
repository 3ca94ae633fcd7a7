#include "image/ext4_directory.h"

#include <ext2fs/ext2_fs.h>

#include <cstring>

namespace boxlite::image {
namespace {

constexpr std::size_t kHeaderBytes = 8;  // of an entry, before its name

std::uint8_t type_code(FileType type) {
  switch (type) {
    case FileType::kDirectory:
      return EXT2_FT_DIR;
    case FileType::kSymlink:
      return EXT2_FT_SYMLINK;
    case FileType::kCharDevice:
      return EXT2_FT_CHRDEV;
    case FileType::kBlockDevice:
      return EXT2_FT_BLKDEV;
    case FileType::kFifo:
      return EXT2_FT_FIFO;
    case FileType::kRegular:
    case FileType::kHardLink:
      break;
  }
  return EXT2_FT_REG_FILE;
}

}  // namespace

void DirectoryBlocks::add(const DirectoryEntry& entry) {
  const auto needed = static_cast<std::uint32_t>((kHeaderBytes + entry.name.size() + 3) / 4 * 4);
  if (bytes_.empty() || used_ + needed > usable_) {
    bytes_.resize(bytes_.size() + kBlockSize);
    used_ = 0;
  } else {
    const auto length = static_cast<std::uint16_t>(bytes_.size() - kBlockSize + used_ - last_);
    std::memcpy(bytes_.data() + last_ + offsetof(ext2_dir_entry_2, rec_len), &length, sizeof length);
  }
  write_entry(entry);
  used_ += needed;
}

void DirectoryBlocks::add_empty_block() {
  bytes_.resize(bytes_.size() + kBlockSize);
  used_ = 0;
  write_entry({});
  used_ = usable_;
}

void DirectoryBlocks::drop_front(std::uint64_t blocks) {
  bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(blocks * kBlockSize));
  if (!bytes_.empty()) last_ -= blocks * kBlockSize;
}

// At the end of what is used, reaching to the block's end.
void DirectoryBlocks::write_entry(const DirectoryEntry& entry) {
  ext2_dir_entry_2 raw = {};
  raw.inode = entry.inode;
  raw.rec_len = static_cast<std::uint16_t>(usable_ - used_);
  raw.name_len = static_cast<std::uint8_t>(entry.name.size());
  raw.file_type = entry.inode == 0 ? std::uint8_t{EXT2_FT_UNKNOWN} : type_code(entry.type);
  last_ = bytes_.size() - kBlockSize + used_;
  std::memcpy(bytes_.data() + last_, &raw, kHeaderBytes);
  if (!entry.name.empty()) std::memcpy(bytes_.data() + last_ + kHeaderBytes, entry.name.data(), entry.name.size());
}

}  // namespace boxlite::image

// The blocks of one ext4 directory, packed as the kernel reads them linearly: no entry crosses a block, and the last of each
// block reaches to its end. Built at once, front to back: adding names one by one to a
// directory on the disk searches it each time, which is quadratic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "image/ext4_image.h"

namespace boxlite::image {

class DirectoryBlocks {
 public:
  /// `usable`: bytes of a block that entries may fill; the rest is the checksum's, which the caller writes.
  explicit DirectoryBlocks(std::uint32_t usable) : usable_(usable) {}

  void add(const DirectoryEntry& entry);
  void add_empty_block();
  /// Forgets the first blocks; the last one can be dropped only when nothing is added any more.
  void drop_front(std::uint64_t blocks);

  std::uint64_t blocks() const { return bytes_.size() / kBlockSize; }
  std::span<std::byte> bytes() { return bytes_; }

 private:
  void write_entry(const DirectoryEntry& entry);

  std::uint32_t usable_;
  std::vector<std::byte> bytes_;
  std::uint32_t used_ = 0;  // of the last block
  std::size_t last_ = 0;    // where its last entry begins
};

}  // namespace boxlite::image
